"""Rude clients of WebSockets, over TCP as over TLS."""

from __future__ import annotations

import asyncio
import random
import zlib

from tests.soak.peer import PATIENCE_S, Peer
from tests.soak.rude import Rudeness

UPGRADE = (
    b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n"
)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


def frame(opcode: int, payload: bytes, *, first: int = 0x80, length: int | None = None) -> bytes:
    """A frame masked with zeros, which are a mask as good as any; `length` may be a lie."""
    said = len(payload) if length is None else length
    if said < 126:
        size = bytes([0x80 | said])
    elif said < 1 << 16:
        size = b"\xfe" + said.to_bytes(2)
    else:
        size = b"\xff" + said.to_bytes(8)
    return bytes([first | opcode]) + size + b"\0\0\0\0" + payload


async def upgrade(peer: Peer, path: bytes, extensions: bytes = b"") -> None:
    peer.send(UPGRADE % (path, extensions))
    await peer.reader.readuntil(b"\r\n\r\n")


async def never_reads(peer: Peer, dice: random.Random) -> None:
    await upgrade(peer, b"/flood")
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(PATIENCE_S)


async def sends_and_never_reads(peer: Peer, dice: random.Random) -> None:
    await upgrade(peer, b"/ws")
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    peer.send(frame(BINARY, dice.randbytes(1000)) * dice.randrange(1, 2000))
    await asyncio.sleep(PATIENCE_S)


async def never_ends_a_frame(peer: Peer, dice: random.Random) -> None:
    await upgrade(peer, b"/ws")
    peer.send(frame(TEXT, b"x" * dice.randrange(100), length=10_000))
    await asyncio.sleep(dice.uniform(0, PATIENCE_S))


async def never_ends_a_message(peer: Peer, dice: random.Random) -> None:
    await upgrade(peer, b"/ws")
    peer.send(frame(TEXT, b"x", first=0))
    for _ in range(dice.randrange(1, 60)):
        peer.send(frame(0, b"x", first=0))
        await asyncio.sleep(0.05)


async def sends_a_bomb(peer: Peer, dice: random.Random) -> None:
    await upgrade(peer, b"/ws", DEFLATE)
    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(b"0" * (8 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    peer.send(frame(BINARY, bomb[:-4], first=0xC0))
    await peer.reader.read()


async def breaks_the_rules(peer: Peer, dice: random.Random) -> None:
    await upgrade(peer, b"/ws")
    peer.send(
        dice.choice(
            [
                frame(3, b""),
                frame(TEXT, b"\xff\xfe"),
                frame(PING, b"x" * 126),
                frame(CLOSE, b"\x03"),
                frame(BINARY, b"", length=1 << 62),
                dice.randbytes(100),
            ]
        )
    )
    await peer.reader.read()


async def dies(peer: Peer, dice: random.Random) -> None:
    await upgrade(peer, dice.choice([b"/ws", b"/flood"]))
    peer.send(frame(BINARY, b"x" * 100))
    await asyncio.sleep(dice.uniform(0, 0.1))


async def says_nothing(peer: Peer, dice: random.Random) -> None:
    await upgrade(peer, b"/ws")
    await asyncio.sleep(dice.uniform(0, PATIENCE_S))


MANNERS: list[Rudeness] = [
    never_reads,
    sends_and_never_reads,
    never_ends_a_frame,
    never_ends_a_message,
    sends_a_bomb,
    breaks_the_rules,
    dies,
    says_nothing,
]
