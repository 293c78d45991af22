"""The clients of the soak of the web: honest ones, or slow, rude and dying ones. A program.

It takes its orders as JSON and prints what it found: of honest clients the answers that were wrong
and the times of the right ones, of rude ones how often each was rude.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from tests.server.http2_support import Http2Client
from tests.soak import rude, rude_http2, rude_tls, rude_websocket
from tests.soak.peer import GET, PATIENCE_S, POST, Peer, connect
from tests.soak.rude_websocket import TEXT, frame, upgrade

Orders = dict[str, Any]
Exchange = Callable[[int], Awaitable[bool]]
"""One question, by its number; whether the answer was right."""


# --- honest clients -----------------------------------------------------------------------------


def expected(turn: int) -> bytes:
    return b'{"a":%d}' % turn


async def http1(orders: Orders, alpn: str | None) -> tuple[Peer, Exchange]:
    """Asks, reads and compares, on a connection that is kept."""
    peer = await connect(orders, alpn)

    async def exchange(turn: int) -> bool:
        if turn % 2:
            peer.send(GET % b"/hello")
            return await peer.answer() == (200, b'{"hello":"world"}')
        body = expected(turn)
        peer.send(POST % (b"/echo", b"Content-Length: %d\r\n" % len(body)) + body)
        return await peer.answer() == (200, body)

    return peer, exchange


async def http2(orders: Orders, alpn: str | None) -> tuple[Peer, Exchange]:
    """The same on streams of one connection."""
    peer = await connect(orders, alpn)
    client = Http2Client(peer.reader, peer.writer)
    client.begin()

    async def exchange(turn: int) -> bool:
        body = expected(turn)
        fields = [("content-type", "application/json")]
        answer = await client.ask("POST", "/echo", fields, body)
        client.answers.clear()
        return (answer.status, answer.body) == (200, body)

    return peer, exchange


async def websocket(orders: Orders, alpn: str | None) -> tuple[Peer, Exchange]:
    """Messages, and their echoes."""
    peer = await connect(orders, alpn)
    await upgrade(peer, b"/ws")

    async def exchange(turn: int) -> bool:
        peer.send(frame(TEXT, expected(turn)))
        while True:
            head, size = await peer.reader.readexactly(2)
            payload = await peer.reader.readexactly(size)
            if head == 0x80 | TEXT:
                return payload == expected(turn)
            peer.send(frame(10, payload))  # a ping's answer

    return peer, exchange


HONEST = [
    (http1, None),
    (http1, "http/1.1"),
    (http2, None),
    (http2, "h2"),
    (websocket, None),
    (websocket, "http/1.1"),
]


async def honest(
    orders: Orders, slot: int, until: float, times: list[float], wrong: list[str]
) -> None:
    begin, alpn = HONEST[slot % len(HONEST)]
    peer, exchange = await begin(orders, alpn)
    turn = 0
    while time.monotonic() < until:
        turn += 1
        before = time.perf_counter()
        right = await exchange(turn)
        times.append(time.perf_counter() - before)
        if not right:
            wrong.append(f"{begin.__name__} over {alpn}: answer {turn} is wrong")
        await asyncio.sleep(0.002)
    peer.writer.close()


# --- rude ones ----------------------------------------------------------------------------------

#: What is rude to what, and how often: the protocol, what TLS agrees on, the manners.
SCENES: list[tuple[str, str | None, list[rude.Rudeness], int]] = [
    ("HTTP/1.1", None, rude.MANNERS, 4),
    ("HTTP/1.1 by TLS", "http/1.1", rude.MANNERS, 2),
    ("HTTP/2", None, rude_http2.MANNERS, 2),
    ("HTTP/2 by TLS", "h2", rude_http2.MANNERS, 1),
    ("WebSocket", None, rude_websocket.MANNERS, 2),
    ("WebSocket by TLS", "http/1.1", rude_websocket.MANNERS, 1),
    ("TLS", None, rude_tls.MANNERS, 2),
]


async def be_rude(orders: Orders, slot: int, until: float, counts: Counter[str]) -> None:
    """One rude client after another."""
    dice = random.Random(f"{orders['seed']} {slot}")
    weights = [scene[3] for scene in SCENES]
    while time.monotonic() < until:
        [(name, alpn, manners, _)] = dice.choices(SCENES, weights)
        manner = dice.choice(manners)
        there = orders | {"port": orders["tls_port"]} if name == "TLS" else orders
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                peer = await connect(there, alpn)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await manner(peer, dice)
            finally:
                if dice.random() < 0.5:
                    peer.reset()
                peer.writer.close()
        counts[f"{name}: {manner.__name__}"] += 1
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
                group.create_task(honest(orders, slot, until, times, wrong))
            else:
                group.create_task(be_rude(orders, slot, until, counts))
    print(json.dumps({"times": times, "wrong": wrong, "counts": counts}))


if __name__ == "__main__":
    asyncio.run(main())
