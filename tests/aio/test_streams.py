"""Streams over real connections, on asyncio's own loop and on ours."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pelton
from pelton import aio

FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "pelton": pelton.new_event_loop,
}
BIG = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture(params=FACTORIES)
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """Runs coroutines on one of the loops."""
    with asyncio.Runner(loop_factory=FACTORIES[request.param]) as runner:
        yield runner


Client = Callable[[aio.StreamReader, aio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def served(handler: Client, **options: Any) -> AsyncIterator[tuple[str, int]]:
    """A server's address."""
    server = await aio.start_server(handler, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        await server.wait_closed()


async def leave(writer: aio.StreamWriter) -> None:
    """Close, and wait for it."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def echo(reader: aio.StreamReader, writer: aio.StreamWriter) -> None:
    """Send back what comes."""
    while data := await reader.read(100_000):
        writer.write(data)
        await writer.drain()
    await leave(writer)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go on until `condition` holds; the test's timeout is the bound."""
    while not condition():  # noqa: ASYNC110  nothing tells
        await asyncio.sleep(0)


def raw_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets: ours, not blocking, and the peer's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    return ours, peer


@pytest.mark.parametrize("size", [1, 1000, 40_000, 1_000_000])
def test_what_is_sent_comes_back(runner: asyncio.Runner, size: int) -> None:
    sent = BIG[:size]

    async def main() -> None:
        async with served(echo) as address:
            reader, writer = await aio.open_connection(*address)
            for _ in range(3):
                writer.write(sent)
                assert await reader.readexactly(size) == sent
                await writer.drain()
            writer.write_eof()
            assert await reader.read() == b""
            assert reader.at_eof()
            await leave(writer)

    runner.run(main())


def test_every_way_of_reading_sees_the_same_bytes(runner: asyncio.Runner) -> None:
    rng = random.Random(3)
    lines = [rng.randbytes(rng.choice([3, 900, 30_000])).replace(b"\n", b"-") for _ in range(300)]
    sent = b"".join(line + b"\n" for line in lines)

    async def write(reader: aio.StreamReader, writer: aio.StreamWriter) -> None:
        at = 0
        while at < len(sent):
            step = rng.choice([1, 100, 5000, 70_000])
            writer.write(sent[at : at + step])
            at += step
            await writer.drain()
            await asyncio.sleep(0)
        await leave(writer)

    async def main() -> None:
        async with served(write) as address:
            reader, writer = await aio.open_connection(*address)
            got = bytearray()
            ways: list[Callable[[], Awaitable[bytes]]] = [
                lambda: reader.read(rng.choice([1, 700, 65_536, 300_000])),
                lambda: reader.readexactly(rng.choice([1, 2000, 90_000])),
                lambda: reader.readline(),
                lambda: reader.readuntil(b"\n"),
            ]
            while not reader.at_eof():
                try:
                    got += await rng.choice(ways)()
                except asyncio.IncompleteReadError as short:
                    got += short.partial
            assert bytes(got) == sent
            await leave(writer)

    runner.run(main())


def test_lines_are_iterated(runner: asyncio.Runner) -> None:
    async def write(reader: aio.StreamReader, writer: aio.StreamWriter) -> None:
        writer.writelines([b"one\n", bytearray(b"two\n"), memoryview(b"three")])
        await leave(writer)

    async def main() -> None:
        async with served(write) as address:
            reader, writer = await aio.open_connection(*address)
            assert [line async for line in reader] == [b"one\n", b"two\n", b"three"]
            await leave(writer)

    runner.run(main())


def test_reading_stops_at_twice_the_limit(runner: asyncio.Runner) -> None:
    async def main() -> None:
        ours, peer = raw_pair()
        with peer:
            reader, writer = await aio.open_connection(sock=ours, limit=1000)
            peer.setblocking(False)
            await asyncio.sleep(0)
            filled = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    filled += peer.send(BIG)
            await until(lambda: reader._paused)
            assert 2000 < len(reader._buffer) < filled
            assert writer.transport.is_reading() is False  # type: ignore[attr-defined]
            assert await reader.readexactly(filled) == (BIG * (filled // len(BIG) + 1))[:filled]
            assert not reader._paused
            await leave(writer)

    runner.run(main())


def test_a_second_reader_is_refused(runner: asyncio.Runner) -> None:
    async def main() -> None:
        async with served(echo) as address:
            reader, writer = await aio.open_connection(*address)
            first = asyncio.create_task(reader.read(10))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match=r"^readexactly\(\) called while another"):
                await reader.readexactly(1)
            writer.write(b"x")
            assert await first == b"x"
            await leave(writer)

    runner.run(main())


@pytest.mark.parametrize("woken", [False, True])
def test_a_cancelled_read_loses_nothing(runner: asyncio.Runner, woken: bool) -> None:
    async def main() -> None:
        ours, peer = raw_pair()
        with peer:
            reader, writer = await aio.open_connection(sock=ours)
            read = asyncio.create_task(reader.read(100))
            await asyncio.sleep(0)
            if woken:
                peer.sendall(b"first")
                # In the very turn in which the bytes are seen: the reader's future is done.
                await until(lambda: reader._waiter is None)
            read.cancel()
            with pytest.raises(asyncio.CancelledError):
                await read
            if not woken:
                peer.sendall(b"first")
            assert await reader.readexactly(5) == b"first"
            await leave(writer)

    runner.run(main())


def test_bytes_that_came_before_close_can_be_read(runner: asyncio.Runner) -> None:
    async def main() -> None:
        ours, peer = raw_pair()
        with peer:
            reader, writer = await aio.open_connection(sock=ours)
            read = asyncio.create_task(reader.read(100))
            await asyncio.sleep(0)
            peer.sendall(b"bye")
            await until(lambda: reader._waiter is None)
            writer.close()
            assert await read == b"bye"
            await leave(writer)

    runner.run(main())


def test_reset_ends_reads_and_writes(runner: asyncio.Runner) -> None:
    async def main() -> None:
        ours, peer = raw_pair()
        reader, writer = await aio.open_connection(sock=ours)
        read = asyncio.create_task(reader.read(100))
        await asyncio.sleep(0)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with pytest.raises(ConnectionResetError):
            await read
        assert isinstance(reader.exception(), ConnectionResetError)
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await writer.drain()
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()
        assert writer.is_closing()

    runner.run(main())


def test_drain_waits_for_the_peer(runner: asyncio.Runner) -> None:
    async def main() -> None:
        ours, peer = raw_pair()
        with peer:
            _, writer = await aio.open_connection(sock=ours)
            written = 0
            while writer.transport.get_write_buffer_size() == 0:
                writer.write(BIG)
                written += len(BIG)
            drains = [asyncio.create_task(writer.drain()) for _ in range(3)]
            await asyncio.sleep(0)
            assert not any(drain.done() for drain in drains)
            got = 0
            loop = asyncio.get_running_loop()
            while got < written:
                got += len(await loop.run_in_executor(None, peer.recv, 1 << 20))
            await asyncio.gather(*drains)
            await leave(writer)

    runner.run(main())


def test_drain_sees_the_lost_connection(runner: asyncio.Runner) -> None:
    async def main() -> None:
        ours, peer = raw_pair()
        with peer:
            _, writer = await aio.open_connection(sock=ours)
            writer.transport.abort()
            with pytest.raises(ConnectionResetError, match="Connection lost"):
                await writer.drain()

    runner.run(main())


def test_handlers_error_is_reported_and_closes(runner: asyncio.Runner) -> None:
    async def fail(reader: aio.StreamReader, writer: aio.StreamWriter) -> None:
        raise ValueError("of the handler")

    async def main() -> None:
        reports: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        async with served(fail) as address:
            reader, writer = await aio.open_connection(*address)
            assert await reader.read() == b""
            await leave(writer)
        assert [report["message"] for report in reports] == [
            "Unhandled exception in client_connected_cb"
        ]
        assert str(reports[0]["exception"]) == "of the handler"

    runner.run(main())


def test_a_dropped_writer_closes_and_warns(runner: asyncio.Runner) -> None:
    async def main() -> None:
        ours, peer = raw_pair()
        with peer:
            pair: list[Any] = [await aio.open_connection(sock=ours)]
            with pytest.warns(ResourceWarning, match="unclosed <StreamWriter transport="):
                pair.clear()
            await asyncio.sleep(0)
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(None, peer.recv, 1) == b""

    runner.run(main())


def test_a_dropped_writer_in_a_cycle_closes_and_warns(runner: asyncio.Runner) -> None:
    async def main() -> None:
        ours, peer = raw_pair()
        with peer:
            pair: list[Any] = [await aio.open_connection(sock=ours)]
            pair[0][1].cycle = pair[0]
            pair.clear()
            with pytest.warns(ResourceWarning, match="unclosed <StreamWriter transport="):
                gc.collect()
            await asyncio.sleep(0)
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(None, peer.recv, 1) == b""

    runner.run(main())


def test_the_collector_leaves_what_is_in_use(runner: asyncio.Runner) -> None:
    async def main() -> None:
        before = gc.get_threshold()
        gc.set_threshold(1, 1, 1)  # at every chance
        try:
            async with served(echo) as address:
                for _ in range(3):
                    reader, writer = await aio.open_connection(*address)
                    writer.write(b"x" * 1000)
                    assert await reader.readexactly(1000) == b"x" * 1000
                    await leave(writer)
        finally:
            gc.set_threshold(*before)

    runner.run(main())


def test_unix_sockets(runner: asyncio.Runner, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "echo")
        server = await aio.start_unix_server(echo, path)
        reader, writer = await aio.open_unix_connection(path)
        writer.write(b"over a file")
        assert await reader.readexactly(11) == b"over a file"
        await leave(writer)
        server.close()
        await server.wait_closed()

    runner.run(main())


def test_subclasses_keep_their_methods(runner: asyncio.Runner) -> None:
    class Loud(aio.StreamReader):
        def feed_data(self, data: Any) -> None:
            super().feed_data(bytes(data).upper())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = raw_pair()
        with peer:
            reader = Loud(loop=loop)
            protocol = aio.StreamReaderProtocol(reader, loop=loop)
            transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
            peer.sendall(b"quiet\n")
            assert await reader.readline() == b"QUIET\n"
            transport.close()

    runner.run(main())


def test_reads_end_when_nothing_is_left_of_the_loop() -> None:
    loop = pelton.new_event_loop()
    ours, peer = raw_pair()

    async def main() -> tuple[aio.StreamReader, aio.StreamWriter]:
        return await aio.open_connection(sock=ours)

    _, writer = loop.run_until_complete(main())
    writer.transport.abort()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert peer.recv(1) == b""
    peer.close()


def test_an_eof_is_seen_though_nobody_reads(runner: asyncio.Runner) -> None:
    async def main() -> None:
        ours, peer = raw_pair()
        reader, writer = await aio.open_connection(sock=ours)
        peer.sendall(b"last")
        peer.close()
        await until(lambda: reader._eof)
        assert reader._buffer == b"last"
        assert await reader.read() == b"last"
        await leave(writer)

    runner.run(main())
