"""Rude clients of HTTP/2, by prior knowledge as over TLS."""

from __future__ import annotations

import asyncio
import random

import hpack

from tests.soak.peer import PATIENCE_S, Peer
from tests.soak.rude import Rudeness

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
END_STREAM, END_HEADERS = 1, 4
INITIAL_WINDOW = b"\0\4"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def hello(window: int = 65_535) -> bytes:
    return PREFACE + frame(SETTINGS, 0, 0, INITIAL_WINDOW + window.to_bytes(4))


def request(path: str, stream: int, method: str = "GET", flags: int = END_HEADERS) -> bytes:
    fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a")]
    # A table of its own: nothing is remembered, so any order of requests is good.
    block = b"".join(hpack.Encoder().encode([(*field, True)]) for field in fields)
    end = END_STREAM if method == "GET" else 0
    return frame(HEADERS, flags | end, stream, block)


async def takes_requests_back(peer: Peer, dice: random.Random) -> None:
    peer.send(hello())
    for stream in range(1, dice.randrange(20, 600), 2):
        peer.send(request("/late", stream) + frame(RESET, 0, stream, b"\0\0\0\x08"))
        await asyncio.sleep(0)
    await peer.reader.read()


async def opens_no_window(peer: Peer, dice: random.Random) -> None:
    peer.send(hello(window=dice.choice([0, 1, 100])))
    peer.send(request(dice.choice(["/stream", "/file"]), 1) + request("/hello", 3))
    await peer.reader.read()


async def opens_its_window_by_the_byte(peer: Peer, dice: random.Random) -> None:
    peer.send(hello(window=0) + request("/file", 1))
    for _ in range(dice.randrange(1, 100)):
        peer.send(frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1"))
        await asyncio.sleep(0.02)


async def pings_and_never_reads(peer: Peer, dice: random.Random) -> None:
    peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
    peer.send(hello() + frame(PING, 0, 0, b"12345678") * dice.randrange(1, 3000))
    await asyncio.sleep(PATIENCE_S)


async def never_ends_a_head(peer: Peer, dice: random.Random) -> None:
    peer.send(hello() + request("/hello", 1, flags=0))
    await asyncio.sleep(dice.uniform(0, PATIENCE_S))


async def dribbles_a_body(peer: Peer, dice: random.Random) -> None:
    peer.send(hello() + request("/raw", 1, "POST"))
    for _ in range(dice.randrange(1, 60)):
        peer.send(frame(DATA, 0, 1, b"x"))
        await asyncio.sleep(0.05)


async def dies_in_mid_answer(peer: Peer, dice: random.Random) -> None:
    peer.send(hello() + b"".join(request("/stream", stream) for stream in range(1, 20, 2)))
    await asyncio.sleep(dice.uniform(0, 0.1))


async def talks_nonsense(peer: Peer, dice: random.Random) -> None:
    peer.send(hello())
    for _ in range(20):
        payload = dice.randbytes(dice.randrange(40))
        peer.send(frame(dice.randrange(12), dice.randrange(256), dice.randrange(9), payload))
    await peer.reader.read()


async def says_hello_only(peer: Peer, dice: random.Random) -> None:
    peer.send(hello()[: dice.randrange(len(hello()))])
    await asyncio.sleep(dice.uniform(0, PATIENCE_S))


MANNERS: list[Rudeness] = [
    takes_requests_back,
    opens_no_window,
    opens_its_window_by_the_byte,
    pings_and_never_reads,
    never_ends_a_head,
    dribbles_a_body,
    dies_in_mid_answer,
    talks_nonsense,
    says_hello_only,
]
