"""The clients of the soak of the web: honest ones, or slow, rude and dying ones. A program.

It takes its orders as JSON and prints what it found: of honest clients the answers that were wrong
and the times of the right ones, of rude ones how often each was rude.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

GET = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%s\r\n"

#: The longest that a rude client takes over anything.
PATIENCE_S = 3.0


class Peer:
    """A connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, bytes]:
        """The next response: its status and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        body = await self.reader.readexactly(int(fields[b"content-length"]))
        return int(head.split(b" ", 2)[1]), body

    def reset(self) -> None:
        """Dies without a word."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def connect(orders: dict[str, Any]) -> Peer:
    return Peer(*await asyncio.open_connection(orders["host"], orders["port"]))


# --- honest clients -----------------------------------------------------------------------------


async def honest(
    orders: dict[str, Any], until: float, times: list[float], wrong: list[str]
) -> None:
    """Asks, reads and compares, on a connection that is kept."""
    peer = await connect(orders)
    turn = 0
    while time.monotonic() < until:
        turn += 1
        if turn % 2:
            request, expected = GET % b"/hello", b'{"hello":"world"}'
        else:
            expected = b'{"a":%d}' % turn
            request = POST % (b"/echo", b"Content-Length: %d\r\n" % len(expected)) + expected
        before = time.perf_counter()
        peer.send(request)
        got = await peer.answer()
        times.append(time.perf_counter() - before)
        if got != (200, expected):
            wrong.append(f"{got} instead of {expected!r}")
        await asyncio.sleep(0.002)
    peer.writer.close()


# --- rude ones ----------------------------------------------------------------------------------


async def dribbles_a_head(peer: Peer, dice: random.Random) -> None:
    for byte in GET % b"/hello" + b"X-Never-Ends: " * 50:
        peer.send(bytes([byte]))
        await asyncio.sleep(dice.uniform(0, 0.05))


async def dribbles_a_body(peer: Peer, dice: random.Random) -> None:
    peer.send(POST % (b"/raw", b"Content-Length: 1000\r\n"))
    for _ in range(dice.randrange(1, 60)):
        peer.send(b"x")
        await asyncio.sleep(0.05)


async def reads_slowly(peer: Peer, dice: random.Random) -> None:
    peer.send(GET % dice.choice([b"/stream", b"/file"]))
    for _ in range(dice.randrange(1, 40)):
        await peer.reader.read(1000)
        await asyncio.sleep(0.05)


async def never_reads(peer: Peer, dice: random.Random) -> None:
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    peer.send((GET % dice.choice([b"/stream", b"/file", b"/hello"])) * dice.randrange(1, 100))
    await asyncio.sleep(PATIENCE_S)


async def dies_in_mid_answer(peer: Peer, dice: random.Random) -> None:
    peer.send(GET % dice.choice([b"/stream", b"/file", b"/late"]))
    await asyncio.sleep(dice.uniform(0, 0.1))


async def dies_in_mid_body(peer: Peer, dice: random.Random) -> None:
    peer.send(POST % (b"/raw", b"Transfer-Encoding: chunked\r\n") + b"64\r\nxx")
    await asyncio.sleep(dice.uniform(0, 0.1))


async def closes_its_half(peer: Peer, dice: random.Random) -> None:
    peer.send((GET % b"/late") * dice.randrange(1, 4))
    peer.writer.write_eof()
    await peer.reader.read()


async def talks_nonsense(peer: Peer, dice: random.Random) -> None:
    peer.send(dice.randbytes(dice.randrange(1, 2000)))
    await peer.reader.read()


async def says_too_much(peer: Peer, dice: random.Random) -> None:
    peer.send(POST % (b"/raw", b"Content-Length: 9000000\r\n") + b"x" * dice.randrange(1 << 20))
    await peer.reader.read()


async def promises_a_body(peer: Peer, dice: random.Random) -> None:
    peer.send(POST % (b"/raw", b"Expect: 100-continue\r\nContent-Length: 9\r\n"))
    await peer.reader.read(100)
    await asyncio.sleep(dice.uniform(0, 0.5))


async def says_nothing(peer: Peer, dice: random.Random) -> None:
    await asyncio.sleep(dice.uniform(0, PATIENCE_S))


Rudeness = Callable[[Peer, random.Random], Awaitable[None]]
MANNERS: list[Rudeness] = [
    dribbles_a_head,
    dribbles_a_body,
    reads_slowly,
    never_reads,
    dies_in_mid_answer,
    dies_in_mid_body,
    closes_its_half,
    talks_nonsense,
    says_too_much,
    promises_a_body,
    says_nothing,
]


async def rude(orders: dict[str, Any], slot: int, until: float, counts: Counter[str]) -> None:
    """One rude client after another."""
    dice = random.Random(f"{orders['seed']} {slot}")
    while time.monotonic() < until:
        manner = dice.choice(MANNERS)
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            peer = await connect(orders)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await manner(peer, dice)
            finally:
                if dice.random() < 0.5:
                    peer.reset()
                peer.writer.close()
        counts[manner.__name__] += 1
        await asyncio.sleep(dice.uniform(0, 0.1))


async def main() -> None:
    orders = json.loads(sys.argv[1])
    until = time.monotonic() + orders["seconds"]
    times: list[float] = []
    wrong: list[str] = []
    counts: Counter[str] = Counter()
    async with asyncio.TaskGroup() as group:
        for slot in range(orders["clients"]):
            if orders["honest"]:
                group.create_task(honest(orders, until, times, wrong))
            else:
                group.create_task(rude(orders, slot, until, counts))
    print(json.dumps({"times": times, "wrong": wrong, "counts": counts}))


if __name__ == "__main__":
    asyncio.run(main())
