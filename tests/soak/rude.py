"""Rude clients of HTTP/1.1, over TCP as over TLS: slow ones, greedy ones, dying ones."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from tests.soak.peer import GET, PATIENCE_S, POST, Peer

Rudeness = Callable[[Peer, random.Random], Awaitable[None]]
"""What a rude client does on its connection; what it does not end is ended after its patience."""


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
    peer.end()
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
