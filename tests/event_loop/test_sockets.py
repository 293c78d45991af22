"""`sock_*`, and readers and writers on any descriptor."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import pytest

import pelton

BIG = bytes(range(256)) * 8192  # 2 MiB


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected, non-blocking sockets."""
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


def test_big_send_and_receive(
    loop: asyncio.AbstractEventLoop, ends: tuple[socket.socket, socket.socket]
) -> None:
    left, right = ends

    async def receive() -> bytes:
        data = bytearray()
        while chunk := await loop.sock_recv(right, 65536):
            data += chunk
        return bytes(data)

    async def main() -> None:
        receiving = loop.create_task(receive())
        await loop.sock_sendall(left, BIG)
        left.shutdown(socket.SHUT_WR)
        assert await receiving == BIG

    loop.run_until_complete(main())


def test_receive_into_a_buffer(
    loop: asyncio.AbstractEventLoop, ends: tuple[socket.socket, socket.socket]
) -> None:
    left, right = ends

    async def main() -> None:
        buffer = bytearray(10)
        receiving = loop.create_task(loop.sock_recv_into(right, buffer))
        await asyncio.sleep(0)
        await loop.sock_sendall(left, b"hello")
        assert await receiving == 5
        assert buffer == b"hello\0\0\0\0\0"

    loop.run_until_complete(main())


def test_cancelled_receive_loses_nothing(
    loop: asyncio.AbstractEventLoop, ends: tuple[socket.socket, socket.socket]
) -> None:
    left, right = ends

    async def main() -> None:
        receiving = loop.create_task(loop.sock_recv(right, 100))
        await asyncio.sleep(0)
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        await loop.sock_sendall(left, b"still here")
        assert await loop.sock_recv(right, 100) == b"still here"
        assert not loop.remove_reader(right)

    loop.run_until_complete(main())


def test_accept_and_connect(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
            listening.setblocking(False)
            client.setblocking(False)
            accepting = loop.create_task(loop.sock_accept(listening))
            await loop.sock_connect(client, listening.getsockname())
            connection, address = await accepting
            with connection:
                assert address == client.getsockname()
                await loop.sock_sendall(connection, b"hello")
                assert await loop.sock_recv(client, 10) == b"hello"

    loop.run_until_complete(main())


def test_refused_connection(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = listening.getsockname()
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(client, address)

    loop.run_until_complete(main())


def test_datagrams(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with (
            socket.socket(type=socket.SOCK_DGRAM) as left,
            socket.socket(type=socket.SOCK_DGRAM) as right,
        ):
            for end in (left, right):
                end.setblocking(False)
                end.bind(("127.0.0.1", 0))
            receiving = loop.create_task(loop.sock_recvfrom(right, 100))
            assert await loop.sock_sendto(left, b"hello", right.getsockname()) == 5
            assert await receiving == (b"hello", left.getsockname())

    loop.run_until_complete(main())


def test_reader_is_called_while_there_is_something(
    loop: asyncio.AbstractEventLoop, ends: tuple[socket.socket, socket.socket]
) -> None:
    left, right = ends
    got: list[bytes] = []

    def read_one() -> None:
        got.append(right.recv(1))  # leaves the rest: the callback must come again
        if len(got) == 5:
            assert loop.remove_reader(right)
            loop.stop()

    loop.add_reader(right, read_one)
    left.send(b"hello")
    loop.run_forever()
    assert b"".join(got) == b"hello"
    assert not loop.remove_reader(right)


def test_reader_and_writer_of_one_descriptor(
    loop: asyncio.AbstractEventLoop, ends: tuple[socket.socket, socket.socket]
) -> None:
    left, right = ends
    got: list[object] = []

    def write() -> None:
        got.append("write")
        loop.remove_writer(left)
        right.send(b"x")

    def read(argument: object) -> None:
        got.append(argument)
        got.append(left.recv(10))
        loop.stop()

    loop.add_reader(left, pytest.fail)
    loop.add_reader(left, read, "replaced")
    loop.add_writer(left, write)
    loop.run_forever()
    loop.remove_reader(left)
    assert got == ["write", "replaced", b"x"]


def test_reader_learns_of_the_end(loop: asyncio.AbstractEventLoop) -> None:
    reading, writing = os.pipe()
    try:
        loop.add_reader(reading, loop.stop)
        os.close(writing)
        loop.run_forever()
        assert os.read(reading, 1) == b""
        loop.remove_reader(reading)
    finally:
        os.close(reading)


def test_descriptor_closed_and_used_again(our_loop: pelton.Loop) -> None:
    numbers = set()
    for _ in range(3):
        left, right = socket.socketpair()
        numbers.add(right.fileno())
        with left, right:  # closed while it is watched, which asyncio's loop does not survive
            our_loop.add_reader(right, our_loop.stop)
            left.send(b"x")
            our_loop.run_forever()
    assert len(numbers) == 1


@pytest.mark.parametrize("fd", [-1, object(), "1"])
def test_what_is_no_descriptor_is_refused(loop: asyncio.AbstractEventLoop, fd: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        loop.add_reader(fd, print)  # type: ignore[arg-type]


def test_files_are_always_ready_so_not_watchable(loop: asyncio.AbstractEventLoop) -> None:
    with open(__file__, "rb") as file, pytest.raises(PermissionError):
        loop.add_reader(file, print)


def test_a_closed_socket_is_removed_by_itself(loop: asyncio.AbstractEventLoop) -> None:
    left, right = socket.socketpair()
    loop.add_reader(right, print)
    right.close()
    assert loop.remove_reader(right)
    with pytest.raises(ValueError, match="-1"):
        loop.remove_reader(right)
    left.close()
