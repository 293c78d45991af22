"""Clients that are rude before TLS is agreed on. They speak to its port without it."""

from __future__ import annotations

import asyncio
import random
import ssl

from tests.soak.peer import PATIENCE_S, Peer
from tests.soak.rude import Rudeness


def client_hello() -> bytes:
    """The first flight of a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without an answer")


async def stops_in_its_hello(peer: Peer, dice: random.Random) -> None:
    hello = client_hello()
    peer.send(hello[: dice.randrange(1, len(hello))])
    await asyncio.sleep(dice.uniform(0, PATIENCE_S))


async def dribbles_its_hello(peer: Peer, dice: random.Random) -> None:
    for byte in client_hello():
        peer.send(bytes([byte]))
        await asyncio.sleep(dice.uniform(0, 0.02))


async def never_finishes(peer: Peer, dice: random.Random) -> None:
    """The server has done the dear part of a handshake, for nothing."""
    peer.send(client_hello())
    await peer.reader.read(100)
    await asyncio.sleep(dice.uniform(0, 0.2))


async def talks_nonsense(peer: Peer, dice: random.Random) -> None:
    peer.send(dice.choice([b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", dice.randbytes(500)]))
    await peer.reader.read()


async def says_nothing(peer: Peer, dice: random.Random) -> None:
    await asyncio.sleep(dice.uniform(0, PATIENCE_S))


MANNERS: list[Rudeness] = [
    stops_in_its_hello,
    dribbles_its_hello,
    never_finishes,
    talks_nonsense,
    says_nothing,
]
