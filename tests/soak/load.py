"""The load of the soak: connections that open, talk, half-close and die at random. A program.

Everything random comes from the seed: which kind of connection, what it says, how it ends. What
comes back is compared with what was said, by length and checksum. The last line printed is JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import socket
import ssl
import struct
import sys
import zlib
from collections import Counter
from dataclasses import asdict
from typing import Any

import pelton
import pelton.aio
from pelton import observe
from tests.soak.held import Held, raise_limit
from tests.soak.server import START_TLS

#: How a connection ends, and how often of a hundred.
ENDS = {"half_close": 55, "close": 20, "reset": 15, "reset_while_talking": 10}
#: The same under TLS, which has no half-open connections: a peer that stops sending without a
#: goodbye, and those that die in the midst of their handshake or never begin it.
TLS_ENDS = {"close": 55, "cut": 15, "reset": 10, "reset_while_talking": 10, "handshake": 10}
MESSAGE_BYTES_MAX = 32_768
PAUSE_S_MAX = 1.5
#: Nothing takes longer on a machine that is not stuck.
PATIENCE_S = 120
LINGER_NOT = struct.pack("ii", 1, 0)


class Load:
    """Slots, each with one connection after another until the time is over."""

    def __init__(self, addresses: dict[str, Any], folder: str, seed: int) -> None:
        self._addresses = addresses
        self._folder = folder
        self._seed = seed
        self._bytes = random.Random(seed).randbytes(1 << 20)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    async def run(self, slots: int, seconds: float) -> None:
        """All slots at once, opened over the first tenth of the time."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._complain)
        until = loop.time() + seconds
        async with asyncio.TaskGroup() as group:
            for slot in range(slots):
                group.create_task(self._slot(slot, seconds / 10 * slot / slots, until))

    async def _slot(self, slot: int, start_s: float, until: float) -> None:
        dice = random.Random(self._seed * 1_000_003 + slot)
        await asyncio.sleep(start_s)
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            kind = dice.choice(list(self._addresses))
            ends = TLS_ENDS if "tls" in kind else ENDS
            end = dice.choices(list(ends), weights=list(ends.values()))[0]
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._life(dice, kind, end)
            except (
                OSError,
                EOFError,
            ) as error:  # TimeoutError is the first, IncompleteReadError the second
                self.wrong.append(f"{kind}, {end}: {error!r}")
            self.counts[f"{kind} {end}"] += 1

    async def _life(self, dice: random.Random, kind: str, end: str) -> None:
        if end == "handshake":
            await self._break_handshake(dice, kind)
            return
        reader, writer = await self._open(dice, kind)
        try:
            for _ in range(dice.randrange(1, 6)):
                message = self._message(dice)
                writer.write(message)
                if end == "reset_while_talking" and dice.random() < 0.4:
                    break
                self._compare(message, await reader.readexactly(len(message)), kind, end)
                await asyncio.sleep(dice.random() * PAUSE_S_MAX)
            if end.startswith("reset"):
                self._reset(writer)
            elif end == "half_close" and writer.can_write_eof():
                message = self._message(dice)
                writer.write(message)
                writer.write_eof()
                self._compare(message, await reader.read(-1), kind, end)
            elif end == "cut":
                message = self._message(dice)
                writer.write(message)
                # Beneath TLS: all of it leaves, and then the end of the TCP stream.
                writer.transport.set_write_buffer_limits(0)
                await writer.drain()
                writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
                self._compare(message, await reader.read(-1), kind, end)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def _open(
        self, dice: random.Random, kind: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = self._addresses[kind]
        if kind == "unix":
            return await asyncio.open_unix_connection(f"{self._folder}/{address}")
        options: dict[str, Any] = {"local_addr": (own_address(dice), 0)}
        if kind == "start_tls":
            return await self._upgrade(*await asyncio.open_connection(*address[:2], **options))
        if "tls" in kind:
            options["ssl"] = self._tls
        # Ours and asyncio's in turns: they read TLS in different ways.
        module: Any = pelton.aio if dice.random() < 0.5 else asyncio
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]
        streams = await module.open_connection(*address[:2], **options)
        return streams

    async def _upgrade(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        writer.write(START_TLS)
        if (answer := await reader.readline()) != START_TLS:
            self.wrong.append(f"start_tls: answered by {answer!r}")
        await writer.start_tls(self._tls)
        return reader, writer

    async def _break_handshake(self, dice: random.Random, kind: str) -> None:
        """Sends some of its first message, or nothing, and dies; as RST or as FIN."""
        loop = asyncio.get_running_loop()
        came, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        hello = self._tls.wrap_bio(came, sent)
        with contextlib.suppress(ssl.SSLWantReadError):
            hello.do_handshake()
        first = sent.read()
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.bind((own_address(dice), 0))
            await loop.sock_connect(sock, tuple(self._addresses[kind][:2]))
            if kind == "start_tls":
                await loop.sock_sendall(sock, START_TLS)
            await loop.sock_sendall(sock, first[: dice.randrange(len(first) + 1)])
            await asyncio.sleep(dice.random() * PAUSE_S_MAX)
            if dice.random() < 0.5:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)

    def _message(self, dice: random.Random) -> bytes:
        length = dice.randrange(1, MESSAGE_BYTES_MAX)
        start = dice.randrange(len(self._bytes) - length)
        return self._bytes[start : start + length]

    def _compare(self, sent: bytes, received: bytes, kind: str, end: str) -> None:
        self.counts["bytes"] += len(received)
        if (len(sent), zlib.crc32(sent)) != (len(received), zlib.crc32(received)):
            self.wrong.append(f"{kind}, {end}: {len(sent)} bytes sent, {len(received)} came back")

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        """Dies: the peer gets RST, not FIN."""
        sock = writer.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        writer.transport.abort()

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.wrong.append(f"{context.get('message')}: {context.get('exception')!r}")


def own_address(dice: random.Random) -> str:
    """One of many addresses of ours: those of closed connections stay taken for a minute."""
    return f"127.0.{dice.randrange(1, 200)}.{dice.randrange(1, 250)}"


async def main(arguments: dict[str, Any]) -> dict[str, Any]:
    """Runs the load, then says what it did and what this process still holds."""
    load = Load(arguments["addresses"], arguments["folder"], arguments["seed"])
    before = len(os.listdir("/proc/self/fd"))
    await load.run(arguments["slots"], arguments["seconds"])
    gc.collect()
    left = len(asyncio.all_tasks()) - 1
    open_here = observe.loop_stats().transports
    held = Held.now(connections=0, transports=open_here, tasks=left, complaints=load.wrong[:20])
    return {
        "counts": load.counts,
        "wrong": len(load.wrong),
        "fds_leaked": len(os.listdir("/proc/self/fd")) - before,
        "held": asdict(held),
    }


if __name__ == "__main__":
    orders = json.loads(sys.argv[1])
    raise_limit(orders["slots"])
    print(json.dumps(pelton.run(main(orders))))
