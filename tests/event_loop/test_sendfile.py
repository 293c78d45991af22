"""`sendfile` to transports and `sock_sendfile`."""

from __future__ import annotations

import asyncio
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

SIZE = 3_000_000


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BinaryIO]:
    """An open file of SIZE random bytes."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    with path.open("rb") as file:
        yield file


async def connected() -> tuple[Any, asyncio.StreamReader, socket.socket]:
    """A transport, its reader, and the other end."""
    left, right = socket.socketpair()
    right.setblocking(False)
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().create_connection(
        lambda: asyncio.StreamReaderProtocol(reader), sock=left
    )
    return transport, reader, right


async def receive(end: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < count and (chunk := await loop.sock_recv(end, 1 << 18)):
        data += chunk
    return bytes(data)


@pytest.mark.parametrize(
    ("offset", "count"), [(0, None), (1000, None), (5, 100_000), (7, SIZE * 2)]
)
def test_file_to_a_transport(
    loop: asyncio.AbstractEventLoop, file: BinaryIO, offset: int, count: int | None
) -> None:
    expected = file.read()[offset : offset + (count or SIZE)]

    async def main() -> None:
        transport, reader, end = await connected()
        with end:
            transport.write(b"before")
            sending = loop.create_task(
                loop.sendfile(transport, file, offset, count, fallback=False)
            )
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if len(expected) > 1_000_000:  # a short file has left by now
                assert not transport.is_reading()
                with pytest.raises(RuntimeError, match="sendfile is in progress"):
                    transport.write(b"between")
            end.send(b"kept back")
            got = await receive(end, 6 + len(expected))
            assert await sending == len(expected)
            transport.write(b"after")
            assert got == b"before" + expected
            assert await receive(end, 5) == b"after"
            assert file.tell() == offset + len(expected)
            assert transport.is_reading()
            assert await reader.readexactly(9) == b"kept back"
            transport.close()
            await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_behind_a_full_queue(loop: asyncio.AbstractEventLoop, file: BinaryIO) -> None:
    queued = os.urandom(2_000_000)

    async def main() -> None:
        transport, _reader, end = await connected()
        with end:
            transport.write(queued)
            sending = loop.create_task(loop.sendfile(transport, file, fallback=False))
            got = await receive(end, len(queued) + SIZE)
            assert await sending == SIZE
            file.seek(0)
            assert got == queued + file.read()
            transport.close()
            await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_no_file_needs_the_fallback(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, _reader, end = await connected()
        with end:
            memory = io.BytesIO(b"from memory")
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await loop.sendfile(transport, memory, fallback=False)
            transport.write(b"ok ")
            assert await loop.sendfile(transport, memory) == 11
            assert await receive(end, 14) == b"ok from memory"
            transport.close()
            await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_empty_file(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()

    async def main() -> None:
        transport, _reader, end = await connected()
        with end, path.open("rb") as empty:
            assert await loop.sendfile(transport, empty) == 0
            transport.write(b"x")
            assert await receive(end, 1) == b"x"
            transport.close()
            await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_peer_leaves_in_the_middle(loop: asyncio.AbstractEventLoop, file: BinaryIO) -> None:
    async def main() -> None:
        transport, _reader, end = await connected()
        sending = loop.create_task(loop.sendfile(transport, file, fallback=False))
        await receive(end, 100_000)
        end.close()
        with pytest.raises(ConnectionError):
            await sending
        assert 0 < file.tell() < SIZE
        transport.abort()
        await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_cancelled_in_the_middle(loop: asyncio.AbstractEventLoop, file: BinaryIO) -> None:
    async def main() -> None:
        transport, _reader, end = await connected()
        with end:
            sending = loop.create_task(loop.sendfile(transport, file, fallback=False))
            sent = len(await receive(end, 100_000))
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            transport.write(b"end")
            transport.close()
            rest = await receive(end, SIZE)
            assert rest.endswith(b"end")
            assert sent + len(rest) - 3 == file.tell()

    loop.run_until_complete(main())


def test_aborted_in_the_middle(our_loop: asyncio.AbstractEventLoop, file: BinaryIO) -> None:
    loop = our_loop

    async def main() -> None:
        transport, _reader, end = await connected()
        with end:
            sending = loop.create_task(loop.sendfile(transport, file, fallback=False))
            await receive(end, 100_000)
            transport.abort()
            with pytest.raises(ConnectionError, match="closed by peer"):
                await sending

    loop.run_until_complete(main())


@pytest.mark.parametrize(("offset", "count"), [(0, None), (5, 100_000)])
def test_file_to_a_socket(
    loop: asyncio.AbstractEventLoop, file: BinaryIO, offset: int, count: int | None
) -> None:
    expected = file.read()[offset : offset + (count or SIZE)]

    async def main() -> None:
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            right.setblocking(False)
            sending = loop.create_task(
                loop.sock_sendfile(left, file, offset, count, fallback=False)
            )
            assert await receive(right, len(expected)) == expected
            assert await sending == len(expected)
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await loop.sock_sendfile(left, cast(Any, io.BytesIO(b"x")), fallback=False)
            assert await loop.sock_sendfile(left, cast(Any, io.BytesIO(b"x"))) == 1
            assert await receive(right, 1) == b"x"

    loop.run_until_complete(main())
