"""Pipe transports."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from typing import IO, Any, cast

import pytest


class Recorder(asyncio.Protocol):
    """Remembers what comes, and all other calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.data = bytearray()
        self.lost = asyncio.Event()
        self.writable = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(Any, transport)
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> None:
        self.calls.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(f"lost {exc!r}")
        self.lost.set()

    def pause_writing(self) -> None:
        self.calls.append("pause")
        self.writable.clear()

    def resume_writing(self) -> None:
        self.calls.append("resume")
        self.writable.set()


def files(unix: bool = False) -> tuple[IO[bytes], IO[bytes]]:
    """The reading and the writing end."""
    if unix:
        left, right = socket.socketpair()
        return os.fdopen(left.detach(), "rb", 0), os.fdopen(right.detach(), "wb", 0)
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0)


async def until(event: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        await event.wait()


@pytest.mark.parametrize("unix", [False, True])
@pytest.mark.parametrize("size", [1, 1000, 100_000, 3_000_000])
def test_through_both_transports(loop: asyncio.AbstractEventLoop, unix: bool, size: int) -> None:
    sent = os.urandom(size)

    async def main() -> None:
        reading, writing = files(unix)
        _, reader = await loop.connect_read_pipe(Recorder, reading)
        transport, writer = await loop.connect_write_pipe(Recorder, writing)
        assert transport.get_extra_info("pipe") is writing
        for start in range(0, size, 70_000):
            transport.write(sent[start : start + 70_000])
        assert transport.get_write_buffer_size() <= size
        transport.close()
        await until(reader.lost)
        await until(writer.lost)
        assert reader.data == sent
        assert reader.calls == ["made", "eof", "lost None"]
        assert writer.calls[0] == "made"
        assert writer.calls[-1] == "lost None"

    loop.run_until_complete(main())


def test_paused_reading(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        reading, writing = files()
        with writing:
            transport, reader = await loop.connect_read_pipe(Recorder, reading)
            pipe = cast(asyncio.ReadTransport, transport)
            pipe.pause_reading()
            assert not pipe.is_reading()
            writing.write(b"kept back")
            await asyncio.sleep(0.01)
            assert not reader.data
            pipe.resume_reading()
        await until(reader.lost)
        assert reader.data == b"kept back"

    loop.run_until_complete(main())


def test_flow_control(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        reading, writing = files()
        with reading:
            transport, writer = await loop.connect_write_pipe(Recorder, writing)
            transport.set_write_buffer_limits(high=10_000)
            transport.write(bytes(200_000))
            assert writer.calls == ["made", "pause"]
            got = await loop.run_in_executor(None, reading.read, 200_000)
            while len(got) < 200_000:
                got += await loop.run_in_executor(None, reading.read, 200_000)
            await until(writer.writable)
            transport.close()
            await until(writer.lost)

    loop.run_until_complete(main())


def test_peer_closes_the_reading_end(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        reading, writing = files()
        _, writer = await loop.connect_write_pipe(Recorder, writing)
        reading.close()
        await until(writer.lost)
        assert writer.transport.is_closing()
        assert "lost" in writer.calls[-1]

    loop.run_until_complete(main())


def test_write_eof_and_abort(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        reading, writing = files()
        _, reader = await loop.connect_read_pipe(Recorder, reading)
        transport, writer = await loop.connect_write_pipe(Recorder, writing)
        assert transport.can_write_eof()
        transport.write(b"end")
        transport.write_eof()
        await until(writer.lost)
        await until(reader.lost)
        assert reader.data == b"end"
        reading, writing = files()
        with writing:
            transport, reader = await loop.connect_read_pipe(Recorder, reading)
            transport.close()
            await until(reader.lost)

    loop.run_until_complete(main())


def test_regular_files_are_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with tempfile.TemporaryFile() as file:
            with pytest.raises(ValueError, match="Pipe transport is for pipes/sockets only"):
                await loop.connect_read_pipe(Recorder, file)
            with pytest.raises(ValueError, match="only for pipes, sockets and character devices"):
                await loop.connect_write_pipe(Recorder, file)

    loop.run_until_complete(main())


def test_shown_and_not_blocking(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        reading, writing = files()
        with writing:
            transport, reader = await loop.connect_read_pipe(Recorder, reading)
            assert not os.get_blocking(reading.fileno())
            await asyncio.sleep(0)
            assert f"ReadPipeTransport fd={reading.fileno()} polling" in repr(transport)
            transport.close()
            await until(reader.lost)
            assert "closed" in repr(transport)

    loop.run_until_complete(main())


def test_failing_protocol_is_reported(loop: asyncio.AbstractEventLoop) -> None:
    class Fails(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    reported: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))

    async def main() -> None:
        reading, writing = files()
        with writing:
            _, reader = await loop.connect_read_pipe(Fails, reading)
            writing.write(b"x")
        await until(reader.lost)

    loop.run_until_complete(main())
    assert [type(context["exception"]) for context in reported] == [ZeroDivisionError]
