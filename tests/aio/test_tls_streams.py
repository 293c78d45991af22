"""Streams over TLS, on asyncio's own loop and on ours: with OpenSSL called directly, where a reader
is fed with no Python in between, and through the methods of `ssl.SSLObject`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import pelton
from pelton import aio
from tests.aio.test_streams import Client, echo, leave
from tests.event_loop.test_streams import until
from tests.event_loop.test_tls import client_context, server_context

BIG = random.Random(7).randbytes(1 << 20)


@pytest.fixture(params=["asyncio", "direct", "methods"])
def runner(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[asyncio.Runner]:
    """Runs coroutines on one of the loops."""
    ours = request.param != "asyncio"
    if ours:
        monkeypatch.setattr(pelton.Loop, "_tls_short_way", request.param == "direct")
    factory: Any = pelton.new_event_loop if ours else asyncio.SelectorEventLoop
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner


@contextlib.asynccontextmanager
async def connected(
    handler: Client, **options: Any
) -> AsyncIterator[tuple[aio.StreamReader, aio.StreamWriter]]:
    """A client's streams, to a server with this handler."""
    server = await aio.start_server(handler, "127.0.0.1", 0, ssl=server_context())
    async with server:
        address = server.sockets[0].getsockname()
        reader, writer = await aio.open_connection(
            *address, ssl=client_context(), server_hostname="localhost", **options
        )
        try:
            yield reader, writer
        finally:
            await leave(writer)


def test_messages_come_back_whole(runner: asyncio.Runner) -> None:
    async def main() -> None:
        async with connected(echo) as (reader, writer):
            for size in (1, 1000, 16_384, 16_385, 100_000, len(BIG)):
                writer.write(BIG[:size])
                assert await reader.readexactly(size) == BIG[:size]
                await writer.drain()

    runner.run(main())


def test_lines_and_pieces_that_are_cut_anywhere(runner: asyncio.Runner) -> None:
    dice = random.Random(11)
    lines = [bytes([97 + dice.randrange(26)]) * dice.randrange(3000) + b"\n" for _ in range(60)]

    async def send(reader: aio.StreamReader, writer: aio.StreamWriter) -> None:
        rest = b"".join(lines)
        while rest:
            size = dice.randrange(1, 5000)
            writer.write(rest[:size])
            await writer.drain()
            rest = rest[size:]
        await leave(writer)

    async def main() -> None:
        async with connected(send) as (reader, _):
            assert [await reader.readline() for _ in lines] == lines
            assert await reader.read() == b""
            assert reader.at_eof()

    runner.run(main())


def test_a_reader_that_is_full_stops_the_peer(runner: asyncio.Runner) -> None:
    async def main() -> None:
        sent = asyncio.Event()

        async def flood(reader: aio.StreamReader, writer: aio.StreamWriter) -> None:
            for _ in range(16):
                writer.write(BIG)
            await writer.drain()
            sent.set()
            await leave(writer)

        async with connected(flood, limit=1000) as (reader, _):
            await until(lambda: reader._paused)
            # More than twice the limit by at most what was read at once.
            assert 2000 < len(reader._buffer) < 600_000
            assert not sent.is_set()
            for _ in range(16):
                assert await reader.readexactly(len(BIG)) == BIG
            assert await reader.read() == b""

    runner.run(main())


def test_a_read_that_is_cancelled_loses_nothing(runner: asyncio.Runner) -> None:
    async def main() -> None:
        async with connected(echo) as (reader, writer):
            for size in (10, 30_000):
                reading = asyncio.ensure_future(reader.readexactly(size))
                await asyncio.sleep(0)
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
                writer.write(BIG[:size])
                assert await reader.readexactly(size) == BIG[:size]

    runner.run(main())


def test_a_protocol_that_is_set_gets_what_comes(runner: asyncio.Runner) -> None:
    class Plain(asyncio.Protocol):
        data = b""

        def data_received(self, data: bytes) -> None:
            self.data += data

    async def main() -> None:
        async with connected(echo) as (reader, writer):
            writer.write(b"first")
            assert await reader.readexactly(5) == b"first"
            protocol = Plain()
            transport: Any = writer.transport
            before = transport.get_protocol()
            transport.set_protocol(protocol)
            writer.write(b"second")
            await until(lambda: protocol.data == b"second")
            transport.set_protocol(before)
            writer.write(b"third")
            assert await reader.readexactly(5) == b"third"

    runner.run(main())


def test_a_peer_that_goes_is_an_end(runner: asyncio.Runner) -> None:
    async def go(reader: aio.StreamReader, writer: aio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.transport.abort()

    async def main() -> None:
        async with connected(go) as (reader, writer):
            writer.write(b"x")
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""

    runner.run(main())
