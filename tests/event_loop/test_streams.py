"""TCP and unix connections: transports, protocols, servers."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import pelton

BIG = bytes(range(256)) * 8192  # 2 MiB


class Recorder(asyncio.Protocol):
    """Remembers what happens to it."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.events: list[str] = []
        self.data = bytearray()
        self.keep_open = False
        loop = asyncio.get_running_loop()
        self.made: asyncio.Future[None] = loop.create_future()
        self.eof: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[BaseException | None] = loop.create_future()
        self.got: asyncio.Event = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.events.append("made")
        self.made.set_result(None)

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.data += data
        self.got.set()

    def eof_received(self) -> bool:
        self.events.append("eof")
        self.eof.set_result(None)
        return self.keep_open

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.events.append("lost")
        self.lost.set_result(exc)

    async def wait_for(self, size: int) -> bytes:
        while len(self.data) < size:
            self.got.clear()
            await self.got.wait()
        return bytes(self.data)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go on until `condition` holds; the test's timeout is the bound."""
    while not condition():  # noqa: ASYNC110  nothing tells
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def pair(
    server_factory: Callable[[], Any] = Recorder,
) -> AsyncIterator[tuple[Recorder, Any]]:
    """A client and the server's protocol of its connection, both connected."""
    loop = asyncio.get_running_loop()
    accepted: list[Any] = []

    def factory() -> Any:
        accepted.append(server_factory())
        return accepted[-1]

    server = await loop.create_server(factory, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        transport, client = await loop.create_connection(Recorder, "127.0.0.1", port)
        await until(lambda: bool(accepted))
        if isinstance(accepted[0], Recorder):
            await accepted[0].made
        yield client, accepted[0]
        if not client.lost.done():
            transport.abort()
        await client.lost
        if isinstance(accepted[0], Recorder):
            if not accepted[0].lost.done():
                accepted[0].transport.abort()
            await accepted[0].lost


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_arrive_whole(loop: asyncio.AbstractEventLoop, kind: Any) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            data = kind(bytearray(BIG))
            client.transport.write(data)
            if kind is not bytes:
                data[:] = bytes(len(data))  # written means copied
            assert await server.wait_for(len(BIG)) == BIG

    loop.run_until_complete(main())


def test_writelines_keeps_order(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            chunks: list[bytes | bytearray | memoryview] = [
                b"a" * 70_000,
                bytearray(b"b"),
                b"",
                memoryview(b"cd"),
                *[b"e"] * 200,
            ]
            client.transport.writelines(chunks)
            client.transport.write(b"end")
            expected = b"".join(bytes(chunk) for chunk in chunks) + b"end"
            assert await server.wait_for(len(expected)) == expected

    loop.run_until_complete(main())


def test_write_refuses_what_is_no_bytes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (client, _):
            with pytest.raises(TypeError, match="bytes-like object, not 'str'"):
                client.transport.write("text")  # type: ignore[arg-type]

    loop.run_until_complete(main())


def test_flow_control_pauses_and_resumes_once(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            server.transport.pause_reading()
            assert not server.transport.is_reading()
            client.transport.set_write_buffer_limits(high=100_000, low=1000)
            assert client.transport.get_write_buffer_limits() == (1000, 100_000)
            for _ in range(8):
                client.transport.write(BIG)
            assert client.transport.get_write_buffer_size() > 100_000
            assert client.events == ["made", "pause"]
            server.transport.resume_reading()
            await server.wait_for(8 * len(BIG))
            await until(lambda: client.transport.get_write_buffer_size() == 0)
            assert client.events == ["made", "pause", "resume"]
            with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\)"):
                client.transport.set_write_buffer_limits(1, 2)

    loop.run_until_complete(main())


def test_close_sends_what_is_queued(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            for _ in range(8):
                client.transport.write(BIG)
            client.transport.close()
            assert client.transport.is_closing()
            assert await client.lost is None
            await server.eof
            assert server.data == BIG * 8
            assert await server.lost is None

    loop.run_until_complete(main())


def test_abort_drops_what_is_queued(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            server.transport.pause_reading()
            for _ in range(8):
                client.transport.write(BIG)
            client.transport.abort()
            assert client.transport.get_write_buffer_size() == 0
            assert await client.lost is None
            assert client.events[-1] == "lost"
            server.transport.resume_reading()
            await server.lost
            assert len(server.data) < 8 * len(BIG)

    loop.run_until_complete(main())


def test_half_close_keeps_the_other_way_open(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            server.keep_open = True
            assert client.transport.can_write_eof()
            client.transport.write(BIG)
            client.transport.write_eof()
            with pytest.raises(RuntimeError, match="write_eof"):
                client.transport.write(b"x")
            await server.eof
            assert server.data == BIG
            server.transport.write(b"answer")
            assert await client.wait_for(6) == b"answer"
            server.transport.close()
            assert await server.lost is None

    loop.run_until_complete(main())


def test_data_and_end_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (_, server):
            with socket.create_connection(server.transport.get_extra_info("sockname")) as raw:
                del raw  # a second connection that only connects
        done = loop.create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            done.set_result(await reader.read())
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
            with socket.create_connection(listening.sockets[0].getsockname()) as raw:
                raw.sendall(b"all at once")
            assert await done == b"all at once"

    loop.run_until_complete(main())


def test_reset_reaches_connection_lost(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            raw = client.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.transport.abort()
            error = await server.lost
            assert isinstance(error, ConnectionResetError)
            assert error.errno is not None

    loop.run_until_complete(main())


def test_extra_info(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            ours, theirs = client.transport, server.transport
            assert ours.get_extra_info("sockname") == theirs.get_extra_info("peername")
            assert ours.get_extra_info("peername") == theirs.get_extra_info("sockname")
            raw = theirs.get_extra_info("socket")
            assert raw.getsockname() == theirs.get_extra_info("sockname")
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert theirs.get_extra_info("socket").fileno() == raw.fileno()
            assert theirs.get_extra_info("sslcontext") is None
            assert theirs.get_extra_info("nothing", 7) == 7
            theirs.close()
            await server.lost
            assert raw.fileno() == -1
            assert theirs.get_extra_info("peername") == ours.get_extra_info("sockname")

    loop.run_until_complete(main())


def test_protocol_can_be_replaced(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            other = Recorder()
            server.transport.set_protocol(other)
            assert server.transport.get_protocol() is other
            client.transport.write(b"for the other")
            assert await other.wait_for(13) == b"for the other"
            assert server.data == b""
            server.transport.set_protocol(server)

    loop.run_until_complete(main())


class Buffered(asyncio.BufferedProtocol):
    """Takes bytes in a small buffer of its own."""

    def __init__(self) -> None:
        self.buffer = bytearray(1000)
        self.data = bytearray()
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        assert sizehint == -1
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


def test_buffered_protocol(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair(Buffered) as (client, server):
            client.transport.write(BIG)
            client.transport.close()
            assert await server.lost is None
            assert server.data == BIG

    loop.run_until_complete(main())


def test_empty_buffer_is_an_error(loop: asyncio.AbstractEventLoop) -> None:
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))

    async def main() -> None:
        async with pair(Buffered) as (client, server):
            server.buffer = bytearray()
            client.transport.write(b"x")
            assert isinstance(await server.lost, RuntimeError)

    loop.run_until_complete(main())
    assert contexts[0]["message"] == "Fatal error: protocol.get_buffer() call failed."


def test_error_in_data_received_closes_and_is_reported(loop: asyncio.AbstractEventLoop) -> None:
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))

    class Broken(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        async with pair(Broken) as (client, server):
            client.transport.write(b"x")
            assert isinstance(await server.lost, ZeroDivisionError)
            assert contexts[0]["protocol"] is server
            assert contexts[0]["transport"] is server.transport

    loop.run_until_complete(main())
    assert contexts[0]["message"] == "Fatal error: protocol.data_received() call failed."
    assert isinstance(contexts[0]["exception"], ZeroDivisionError)


def test_error_in_factory_closes_only_that_connection(our_loop: pelton.Loop) -> None:
    loop = our_loop  # asyncio's leaks the socket
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    protocols: list[Recorder] = []

    def factory() -> Recorder:
        if not contexts:
            raise ZeroDivisionError
        protocols.append(Recorder())
        return protocols[-1]

    async def main() -> None:
        async with await loop.create_server(factory, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*address)
            assert await reader.read() == b""
            writer.close()
            _, client = await loop.create_connection(Recorder, *address)
            client.transport.write(b"x")
            await until(lambda: bool(protocols))
            await protocols[0].wait_for(1)
            client.transport.close()
            await protocols[0].lost

    loop.run_until_complete(main())
    assert isinstance(contexts[0]["exception"], ZeroDivisionError)


def test_cancelled_connection_leaves_the_socket_whole(loop: asyncio.AbstractEventLoop) -> None:
    # uvloop closed such a descriptor twice, and answers went to other people's connections.
    async def main() -> None:
        async with await loop.create_server(Recorder, "127.0.0.1", 0) as server:
            raw = socket.create_connection(server.sockets[0].getsockname())
            raw.setblocking(False)
            task = loop.create_task(loop.create_connection(Recorder, sock=raw))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for _ in range(5):
                await asyncio.sleep(0)
            assert raw.fileno() == -1
            raw.close()

    loop.run_until_complete(main())


def test_server_stops_accepting_and_waits(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with await loop.create_server(Recorder, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
            assert server.is_serving()
            server.close()
            assert not server.is_serving()
            assert server.sockets == ()
            with pytest.raises(OSError):  # noqa: PT011  the system's words
                await loop.create_connection(Recorder, *address)
            await server.wait_closed()

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio has it from 3.13 on")
def test_server_closes_its_clients(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server: Any = await loop.create_server(Recorder, "127.0.0.1", 0)
        _, client = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
        client.transport.write(b"x")
        await asyncio.sleep(0.01)
        server.close()
        server.close_clients()
        await server.wait_closed()
        await client.lost

    loop.run_until_complete(main())


def test_server_protocols_live_in_the_context_of_create_server(
    loop: asyncio.AbstractEventLoop,
) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")
    seen: list[str] = []

    class Watching(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            seen.append(var.get())
            var.set("of this connection")
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            seen.append(var.get())
            super().data_received(data)

    async def main() -> None:
        var.set("of the server")
        for _ in range(2):
            async with pair(Watching) as (client, server):
                client.transport.write(b"x")
                await server.wait_for(1)

    loop.run_until_complete(main())
    assert seen == ["of the server"] * 4


def test_unix_server(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        writer.close()

    async def main() -> None:
        path = tmp_path / "socket"
        async with await asyncio.start_unix_server(echo, path):
            reader, writer = await asyncio.open_unix_connection(path)
            assert writer.get_extra_info("peername") == str(path)
            writer.write(b"hello")
            assert await reader.read() == b"hello"
            writer.close()
            await writer.wait_closed()

    loop.run_until_complete(main())


def test_descriptor_of_a_transport_is_not_for_others(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (client, _):
            fd = client.transport.get_extra_info("socket").fileno()
            with pytest.raises(RuntimeError, match="is used by transport"):
                loop.add_reader(fd, print)

    loop.run_until_complete(main())


def test_many_connections_share_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    async def talk(address: tuple[str, int], name: int) -> None:
        reader, writer = await asyncio.open_connection(*address)
        for n in range(20):
            writer.write(b"%d %d\n" % (name, n))
            assert await reader.readline() == b"%d %d\n" % (name, n)
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
            await asyncio.gather(*(talk(address, n) for n in range(50)))

    loop.run_until_complete(main())


def test_transports_left_open_end_with_the_loop(our_loop: pelton.Loop) -> None:
    accepted: list[Recorder] = []

    def factory() -> Recorder:
        accepted.append(Recorder())
        return accepted[-1]

    async def main() -> socket.socket:
        server = await our_loop.create_server(factory, "127.0.0.1", 0)
        raw = socket.create_connection(server.sockets[0].getsockname())
        await until(lambda: bool(accepted) and accepted[0].made.done())
        server.close()
        return raw

    with our_loop.run_until_complete(main()) as raw:
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            our_loop.close()
        raw.settimeout(10)
        assert raw.recv(1) == b""
    assert accepted[0].transport.is_closing()
