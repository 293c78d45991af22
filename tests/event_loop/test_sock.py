"""`sock_*` at their corners: cancellation, closed and reused descriptors, what they refuse."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import os
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

import pelton

Pair = tuple[socket.socket, socket.socket]


def tcp_pair() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        left = socket.create_connection(listening.getsockname())
        right, _ = listening.accept()
    return left, right


@pytest.fixture(params=[socket.socketpair, tcp_pair], ids=["unix", "tcp"])
def ends(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two connected, non-blocking sockets."""
    left, right = request.param()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_ping_pong_in_pieces(loop: asyncio.AbstractEventLoop, ends: Pair) -> None:
    left, right = ends
    message = os.urandom(10_000)

    async def echo() -> None:
        while data := await loop.sock_recv(right, 333):
            await loop.sock_sendall(right, data)

    async def main() -> None:
        echoing = loop.create_task(echo())
        for size in (1, 332, 333, 334, 10_000):
            await loop.sock_sendall(left, message[:size])
            got = b""
            while len(got) < size:
                got += await loop.sock_recv(left, 1000)
            assert got == message[:size]
        left.shutdown(socket.SHUT_WR)
        await echoing

    loop.run_until_complete(main())


@pytest.mark.parametrize("size", [1 << 16, 1 << 20, 3 << 20])
def test_large_reads_are_whole(loop: asyncio.AbstractEventLoop, ends: Pair, size: int) -> None:
    left, right = ends
    sent = os.urandom(3 << 20)

    async def main() -> None:
        sending = loop.create_task(loop.sock_sendall(left, memoryview(sent)))
        sending.add_done_callback(lambda _: left.shutdown(socket.SHUT_WR))
        got = []
        while data := await loop.sock_recv(right, size):
            assert len(data) <= size
            got.append(data)
        assert b"".join(got) == sent
        await sending

    loop.run_until_complete(main())


def test_end_of_stream_that_came_with_the_data(loop: asyncio.AbstractEventLoop, ends: Pair) -> None:
    left, right = ends

    async def main() -> None:
        receiving = loop.create_task(loop.sock_recv(right, 100))
        await turns()
        left.send(b"last")
        left.close()
        assert await receiving == b"last"
        assert await loop.sock_recv(right, 100) == b""
        assert await loop.sock_recv(right, 100) == b""

    loop.run_until_complete(main())


def test_cancelled_after_data_came_loses_nothing(our_loop: pelton.Loop, ends: Pair) -> None:
    left, right = ends

    async def main() -> None:
        for n in range(20):
            receiving = our_loop.create_task(our_loop.sock_recv(right, 100))
            await turns()
            left.send(b"%d" % n)
            await turns(n % 5)  # cancelled at each point between the event and the result
            receiving.cancel()
            try:
                got = await receiving
            except asyncio.CancelledError:
                got = await our_loop.sock_recv(right, 100)
            assert got == b"%d" % n

    our_loop.run_until_complete(main())


def test_timeouts_leave_nothing_behind(loop: asyncio.AbstractEventLoop, ends: Pair) -> None:
    left, right = ends

    async def main() -> None:
        for _ in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(loop.sock_recv(right, 100), 0.001)
        assert not loop.remove_reader(right)
        left.send(b"x")
        assert await asyncio.wait_for(loop.sock_recv(right, 100), 10) == b"x"

    loop.run_until_complete(main())


def test_cancelled_send_keeps_the_order(loop: asyncio.AbstractEventLoop, ends: Pair) -> None:
    left, right = ends
    big = bytes(4 << 20)

    async def main() -> None:
        sending = loop.create_task(loop.sock_sendall(left, big))
        await turns()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        received = 0

        async def drain() -> None:
            nonlocal received
            while data := await loop.sock_recv(right, 1 << 18):
                received += len(data)

        draining = loop.create_task(drain())
        await loop.sock_sendall(left, b"end")
        left.shutdown(socket.SHUT_WR)
        await draining
        assert 3 < received < len(big)

    loop.run_until_complete(main())


def test_a_lent_buffer_is_given_back(loop: asyncio.AbstractEventLoop, ends: Pair) -> None:
    left, _right = ends
    data = bytearray(4 << 20)

    async def main() -> None:
        sending = loop.create_task(loop.sock_sendall(left, data))
        await turns()
        with pytest.raises(BufferError):
            data.append(1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    loop.run_until_complete(main())
    gc.collect()
    data.append(1)


def test_two_receive_from_one_socket(our_loop: pelton.Loop, ends: Pair) -> None:
    left, right = ends

    async def main() -> None:
        both = [our_loop.create_task(our_loop.sock_recv(right, 1)) for _ in range(2)]
        await turns()
        left.send(b"ab")
        assert await asyncio.gather(*both) == [b"a", b"b"]

    our_loop.run_until_complete(main())


def test_many_accept_from_one_socket(our_loop: pelton.Loop) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            accepting = [our_loop.create_task(our_loop.sock_accept(listening)) for _ in range(5)]
            await turns()
            clients = [socket.create_connection(listening.getsockname()) for _ in range(5)]
            accepted = await asyncio.gather(*accepting)
            assert {address for _, address in accepted} == {c.getsockname() for c in clients}
            for connection, _ in accepted:
                assert connection.gettimeout() == 0
            for open_socket in [*clients, *(connection for connection, _ in accepted)]:
                open_socket.close()

    our_loop.run_until_complete(main())


def test_reader_and_receive_on_one_descriptor(our_loop: pelton.Loop, ends: Pair) -> None:
    left, right = ends
    called = []

    async def main() -> None:
        receiving = our_loop.create_task(our_loop.sock_recv(right, 10))
        await turns()
        our_loop.add_reader(right, called.append, 1)
        left.send(b"x")
        assert await receiving == b"x"
        assert our_loop.remove_reader(right)
        left.send(b"y")
        assert await our_loop.sock_recv(right, 10) == b"y"

    our_loop.run_until_complete(main())
    assert called


def test_closed_descriptors_number_is_used_again(our_loop: pelton.Loop) -> None:
    numbers = set()

    async def main() -> None:
        for n in range(5):
            left, right = tcp_pair() if n % 2 else socket.socketpair()
            numbers.add(right.fileno())
            with left, right:
                right.setblocking(False)
                receiving = our_loop.create_task(our_loop.sock_recv(right, 10))
                await turns()
                left.send(b"x")
                assert await receiving == b"x"

    our_loop.run_until_complete(main())
    assert len(numbers) < 5


def test_duplicate_outlives_the_watched_descriptor(our_loop: pelton.Loop) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        right.setblocking(False)
        left.send(b"1")
        assert await our_loop.sock_recv(right, 1) == b"1"
        receiving = our_loop.create_task(our_loop.sock_recv(right, 1))
        await turns()
        receiving.cancel()
        duplicate = right.dup()  # the kernel goes on telling of it under the old number
        number = right.fileno()
        right.close()
        other_left, other_right = socket.socketpair()
        with left, duplicate, other_left, other_right:
            assert number in (other_left.fileno(), other_right.fileno())
            same = other_left if other_left.fileno() == number else other_right
            peer = other_right if same is other_left else other_left
            same.setblocking(False)
            receiving = our_loop.create_task(our_loop.sock_recv(same, 10))
            await turns()
            left.send(b"for the duplicate")
            await turns()
            assert not receiving.done()
            peer.send(b"mine")
            assert await receiving == b"mine"

    our_loop.run_until_complete(main())


def test_socket_becomes_a_transport(loop: asyncio.AbstractEventLoop, ends: Pair) -> None:
    left, right = ends

    async def main() -> None:
        receiving = loop.create_task(loop.sock_recv(right, 1))
        await turns()
        left.send(b"a")
        assert await receiving == b"a"
        reader, writer = await asyncio.open_connection(sock=right)
        left.send(b"b")
        assert await reader.readexactly(1) == b"b"
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_recv(right, 1)
        writer.close()
        await writer.wait_closed()

    loop.run_until_complete(main())


def test_receive_into_and_datagram_into(loop: asyncio.AbstractEventLoop, ends: Pair) -> None:
    left, right = ends

    async def main() -> None:
        buffer = bytearray(8)
        left.send(b"abc")
        assert await loop.sock_recv_into(right, memoryview(buffer)[2:]) == 3
        assert buffer == b"\0\0abc\0\0\0"
        with pytest.raises(TypeError):
            await loop.sock_recv_into(right, b"read-only")
        with (
            socket.socket(type=socket.SOCK_DGRAM) as one,
            socket.socket(type=socket.SOCK_DGRAM) as other,
        ):
            for end in (one, other):
                end.setblocking(False)
                end.bind(("127.0.0.1", 0))
            receiving = loop.create_task(loop.sock_recvfrom_into(other, buffer))
            await turns()
            await loop.sock_sendto(one, b"datagram", other.getsockname())
            assert await receiving == (8, one.getsockname())
            assert buffer == b"datagram"
            await loop.sock_sendto(one, b"12345", other.getsockname())
            assert await loop.sock_recvfrom_into(other, buffer, 3) == (3, one.getsockname())

    loop.run_until_complete(main())


def test_errors_are_those_of_the_socket(loop: asyncio.AbstractEventLoop, ends: Pair) -> None:
    left, right = ends

    async def main() -> None:
        with pytest.raises(ValueError, match="negative buffersize"):
            await loop.sock_recv(right, -1)
        with pytest.raises(TypeError):
            await loop.sock_recv(right, "1")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await loop.sock_sendall(right, "text")  # type: ignore[arg-type]
        left.close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await loop.sock_sendall(right, bytes(8 << 20))
        right.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            await loop.sock_recv(right, 1)

    loop.run_until_complete(main())


def test_blocking_socket_is_refused_in_debug_mode(
    loop: asyncio.AbstractEventLoop, ends: Pair
) -> None:
    _left, right = ends
    right.setblocking(True)
    loop.set_debug(True)
    calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        lambda: loop.sock_recv(right, 1),
        lambda: loop.sock_recv_into(right, bytearray(1)),
        lambda: loop.sock_recvfrom(right, 1),
        lambda: loop.sock_recvfrom_into(right, bytearray(1)),
        lambda: loop.sock_sendall(right, b""),
        lambda: loop.sock_sendto(right, b"", ""),
        lambda: loop.sock_accept(right),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="must be non-blocking"):
            loop.run_until_complete(call())


def test_tls_socket_is_refused(loop: asyncio.AbstractEventLoop, ends: Pair) -> None:
    _left, right = ends
    context = ssl.create_default_context()
    with (
        context.wrap_socket(right, do_handshake_on_connect=False, server_hostname="x") as tls,
        pytest.raises(TypeError, match="SSLSocket"),
    ):
        loop.run_until_complete(loop.sock_recv(tls, 1))


def test_nothing_happens_before_the_await(loop: asyncio.AbstractEventLoop, ends: Pair) -> None:
    left, right = ends
    call = loop.sock_sendall(right, b"x")
    assert asyncio.iscoroutine(call)
    assert isinstance(call, collections.abc.Coroutine)
    assert not asyncio.isfuture(call)
    with pytest.raises(BlockingIOError):
        left.recv(1)
    loop.run_until_complete(call)
    assert left.recv(1) == b"x"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        loop.run_until_complete(call)


@pytest.mark.skipif(sys.flags.dev_mode, reason="dev mode tells the warning otherwise")
def test_never_awaited_is_warned_of(loop: asyncio.AbstractEventLoop, ends: Pair) -> None:
    _left, right = ends
    with pytest.warns(RuntimeWarning, match=r"coroutine '\w+.sock_recv' was never awaited"):
        loop.sock_recv(right, 1)
    loop.sock_recv(right, 1).close()  # no warning


def test_driven_by_hand(loop: asyncio.AbstractEventLoop, ends: Pair) -> None:
    left, right = ends
    call = loop.sock_recv(right, 1)
    with pytest.raises(TypeError, match="just-started coroutine"):
        call.send(1)
    waiter = call.send(None)
    assert asyncio.isfuture(waiter)
    assert not waiter.done()
    with pytest.raises(ZeroDivisionError):
        call.throw(ZeroDivisionError())
    with pytest.raises(RuntimeError):
        call.send(None)
    call = loop.sock_recv(right, 1)
    left.send(b"x")
    with pytest.raises(StopIteration) as stopped:
        call.send(None)
    assert stopped.value.value == b"x"


def test_task_destroyed_while_it_waits(our_loop: pelton.Loop) -> None:
    left, right = socket.socketpair()
    right.setblocking(False)
    reported: list[dict[str, Any]] = []
    our_loop.set_exception_handler(lambda _, context: reported.append(context))

    async def main() -> None:
        our_loop.create_task(our_loop.sock_recv(right, 1), name="lost")
        await turns()

    our_loop.run_until_complete(main())
    our_loop.close()
    with left, right:
        gc.collect()
    assert [context["message"] for context in reported] == ["Task was destroyed but it is pending!"]


def test_closed_loop_refuses_to_wait(loop: asyncio.AbstractEventLoop, ends: Pair) -> None:
    _left, right = ends
    call = loop.sock_recv(right, 1)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        call.send(None)


def test_subclass_keeps_its_methods(loop: asyncio.AbstractEventLoop) -> None:
    class Shouting(socket.socket):
        def recv(self, n: int, flags: int = 0) -> bytes:  # type: ignore[override]
            return super().recv(n, flags).upper()

    left, right = socket.socketpair()
    with left, Shouting(fileno=right.detach()) as shouting:
        shouting.setblocking(False)

        async def main() -> None:
            receiving = loop.create_task(loop.sock_recv(shouting, 10))
            await turns()
            left.send(b"quiet")
            assert await receiving == b"QUIET"

        loop.run_until_complete(main())
