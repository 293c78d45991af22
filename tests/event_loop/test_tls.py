"""TLS connections: transports, protocols and servers with real `ssl.SSLContext` objects.

Every test runs on asyncio's loop, which is the reference, and on ours twice: with OpenSSL called
directly, and through the methods of `ssl.SSLObject`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import pelton
from tests.event_loop.test_streams import Recorder, until

CERTS = Path(__file__).parent / "certs"
BIG = bytes(range(256)) * 8192  # 2 MiB


@pytest.fixture(params=["asyncio", "direct", "methods"])
def loop(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[asyncio.AbstractEventLoop]:
    """A new loop of each kind, closed after the test."""
    loop: asyncio.AbstractEventLoop
    if request.param == "asyncio":
        loop = asyncio.SelectorEventLoop()
    else:
        monkeypatch.setattr(pelton.Loop, "_tls_short_way", request.param == "direct")
        loop = pelton.new_event_loop()
    try:
        yield loop
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def server_context(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTS / "server.pem")
    if version is not None:
        context.maximum_version = version
    return context


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=CERTS / "ca.pem")


class Buffered(asyncio.BufferedProtocol):
    """A Recorder with a small buffer of its own."""

    def __init__(self) -> None:
        self.memory = bytearray(1000)
        self.data = bytearray()
        self.transport: Any = None
        loop = asyncio.get_running_loop()
        self.made: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[BaseException | None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.made.set_result(None)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self.memory)

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.memory[:nbytes]

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


@contextlib.asynccontextmanager
async def pair(
    server_factory: Callable[[], Any] = Recorder,
    context: ssl.SSLContext | None = None,
    client: ssl.SSLContext | None = None,
    **options: Any,
) -> AsyncIterator[tuple[Recorder, Any]]:
    """A client and the server's protocol of its connection, after their handshakes."""
    loop = asyncio.get_running_loop()
    accepted: list[Any] = []

    def factory() -> Any:
        accepted.append(server_factory())
        return accepted[-1]

    server = await loop.create_server(
        factory, "127.0.0.1", 0, ssl=context or server_context(), **options
    )
    async with server:
        transport, protocol = await loop.create_connection(
            Recorder,
            *server.sockets[0].getsockname(),
            ssl=client or client_context(),
            server_hostname="localhost",
            **options,
        )
        await accepted[0].made
        yield protocol, accepted[0]
        transport.abort()
        await protocol.lost
        accepted[0].transport.abort()
        await accepted[0].lost


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("factory", [Recorder, Buffered])
def test_bytes_arrive_whole(
    loop: asyncio.AbstractEventLoop, kind: Any, factory: Callable[[], Any]
) -> None:
    async def main() -> None:
        async with pair(factory) as (client, server):
            data = kind(bytearray(BIG))
            client.transport.write(data)
            if kind is not bytes:
                data[:] = bytes(len(data))  # written means copied
            await until(lambda: len(server.data) == len(BIG))
            assert server.data == BIG
            server.transport.writelines([b"a", bytearray(b"b"), memoryview(b"c" * 5000), b"d"])
            assert await client.wait_for(5003) == b"ab" + b"c" * 5000 + b"d"

    loop.run_until_complete(main())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_the_transport_tells(loop: asyncio.AbstractEventLoop, version: ssl.TLSVersion) -> None:
    async def main() -> None:
        context = server_context(version)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(CERTS / "ca.pem")
        context.set_alpn_protocols(["h2", "http/1.1"])
        names: list[str | None] = []
        context.sni_callback = lambda _object, name, _context: names.append(name)
        client_side = client_context()
        client_side.load_cert_chain(CERTS / "client.pem")
        client_side.set_alpn_protocols(["http/1.1"])
        async with pair(context=context, client=client_side) as (client, server):
            info = client.transport.get_extra_info
            assert isinstance(client.transport, asyncio.Transport)
            assert info("ssl_object").version() == version.name.replace("_", ".")
            assert info("ssl_object").selected_alpn_protocol() == "http/1.1"
            assert info("sslcontext") is client_side
            assert info("cipher") == info("ssl_object").cipher()
            assert info("compression") is None
            assert info("peername") == server.transport.get_extra_info("sockname")
            assert info("socket").fileno() >= 0
            assert info("nothing", 7) == 7
            subjects = [
                side.transport.get_extra_info("peercert")["subject"][0][0][1]
                for side in (client, server)
            ]
            assert subjects == ["server", "client"]
            assert names == ["localhost"]
            assert not client.transport.can_write_eof()
            with pytest.raises(NotImplementedError):
                client.transport.write_eof()
            with pytest.raises(TypeError, match="expecting a bytes-like instance, got str"):
                client.transport.write("text")  # type: ignore[arg-type]

    loop.run_until_complete(main())


def test_close_sends_what_is_queued_and_ends_both_sides(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            client.transport.write(BIG)
            client.transport.close()
            client.transport.close()
            assert client.transport.is_closing()
            assert await server.wait_for(len(BIG)) == BIG
            assert await server.lost is None
            assert await client.lost is None
            assert server.events == ["made", "eof", "lost"]

    loop.run_until_complete(main())


def test_true_from_eof_received_has_no_effect(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            server.keep_open = True
            client.transport.close()
            assert await server.lost is None

    with caplog.at_level(logging.WARNING, "asyncio"):
        loop.run_until_complete(main())
    assert "has no effect when using ssl" in caplog.text


def test_the_tcp_end_without_goodbye_is_an_end(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            client.transport.get_extra_info("socket")._sock.shutdown(socket.SHUT_WR)
            assert await server.lost is None
            assert server.events == ["made", "eof", "lost"]

    loop.run_until_complete(main())


def test_paused_reading_holds_back_and_gives_all_later(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            server.transport.pause_reading()
            assert not server.transport.is_reading()
            client.transport.write(BIG)
            for _ in range(50):
                await asyncio.sleep(0)
            assert not server.data
            server.transport.resume_reading()
            assert await server.wait_for(len(BIG)) == BIG

    loop.run_until_complete(main())


def test_write_limits_pause_and_resume_the_protocol(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            transport: Any = client.transport
            assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
            with pytest.raises(ValueError, match="must be >= low"):
                transport.set_write_buffer_limits(1, 2)
            transport.set_write_buffer_limits(high=100_000)
            assert transport.get_write_buffer_limits() == (25_000, 100_000)
            server.transport.pause_reading()
            written = 0
            while "pause" not in client.events:
                transport.write(BIG)
                written += len(BIG)
                await asyncio.sleep(0)
            server.transport.resume_reading()
            await until(lambda: "resume" in client.events)
            await until(lambda: len(server.data) == written)
            assert transport.get_write_buffer_size() == 0
            assert client.events == ["made", "pause", "resume"]

    loop.run_until_complete(main())


def test_an_error_of_the_protocol_ends_the_connection(loop: asyncio.AbstractEventLoop) -> None:
    class Broken(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        reports: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _loop, context: reports.append(context))
        async with pair(Broken) as (client, server):
            client.transport.write(b"x")
            assert isinstance(await server.lost, ZeroDivisionError)
        assert [report["message"] for report in reports] == ["Fatal error on SSL protocol"]

    loop.run_until_complete(main())


def test_garbage_ends_the_connection_with_openssls_error(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            sock = client.transport.get_extra_info("socket")._sock
            sock.send(b"this is no record of TLS at all")
            error = await server.lost
            assert isinstance(error, ssl.SSLError)
            assert error.reason == "WRONG_VERSION_NUMBER"
            assert error.library == "SSL"

    loop.run_until_complete(main())


def test_a_handshake_that_fails_says_why(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=server_context())
        async with server:
            address = server.sockets[0].getsockname()
            with pytest.raises(ssl.SSLCertVerificationError) as caught:
                await loop.create_connection(
                    asyncio.Protocol,
                    *address,
                    ssl=ssl.create_default_context(),
                    server_hostname="localhost",
                )
            assert caught.value.verify_code == 20  # no local issuer

    loop.run_until_complete(main())


def test_timeouts_are_checked(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            with socket.create_connection(listener.getsockname()) as sock:
                sock.setblocking(False)
                with pytest.raises(ValueError, match="ssl_handshake_timeout should be a positive"):
                    await loop.create_connection(
                        asyncio.Protocol,
                        sock=sock,
                        ssl=client_context(),
                        server_hostname="localhost",
                        ssl_handshake_timeout=0,
                    )
            with pytest.raises(
                ConnectionAbortedError, match=r"SSL handshake is taking longer than 0\.01 seconds"
            ):
                await loop.create_connection(
                    asyncio.Protocol,
                    *listener.getsockname(),
                    ssl=client_context(),
                    server_hostname="localhost",
                    ssl_handshake_timeout=0.01,
                )

    loop.run_until_complete(main())


def test_a_peer_that_says_no_goodbye_is_cut_off(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair(ssl_shutdown_timeout=0.01) as (client, server):
            server.transport.pause_reading()
            client.transport.write(BIG * 8)  # more than the system buffers
            client.transport.close()
            error = await client.lost
            assert isinstance(error, TimeoutError)
            assert str(error) == "SSL shutdown timed out"

    loop.run_until_complete(main())


def test_start_tls_on_both_sides(loop: asyncio.AbstractEventLoop) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.start_tls(server_context())
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            address = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"go\n"
            await writer.start_tls(client_context(), server_hostname="localhost")
            assert writer.get_extra_info("sslcontext") is not None
            writer.write(b"hello\n")
            assert await reader.readline() == b"HELLO\n"
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    loop.run_until_complete(main())


def test_tls_in_tls(loop: asyncio.AbstractEventLoop) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await writer.start_tls(server_context())
        writer.write(await reader.readexactly(len(BIG)))
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
        async with server:
            address = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(
                *address, ssl=client_context(), server_hostname="localhost"
            )
            await writer.start_tls(client_context(), server_hostname="localhost")
            writer.write(BIG)
            assert await reader.readexactly(len(BIG)) == BIG
            writer.close()
            await writer.wait_closed()

    loop.run_until_complete(main())


def test_unix_sockets_and_accepted_sockets(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    async def main() -> None:
        path = tmp_path / "socket"
        server = await asyncio.start_unix_server(serve, path, ssl=server_context())
        async with server:
            reader, writer = await asyncio.open_unix_connection(
                path, ssl=client_context(), server_hostname="localhost"
            )
            writer.write(b"over unix\n")
            assert await reader.read() == b"over unix\n"
            writer.close()
            await writer.wait_closed()
        left, right = socket.socketpair()
        accepting = asyncio.create_task(
            loop.connect_accepted_socket(Recorder, left, ssl=server_context())
        )
        _, client = await loop.create_connection(
            Recorder, sock=right, ssl=client_context(), server_hostname="localhost"
        )
        transport, accepted = await accepting
        client.transport.write(b"accepted")
        assert await accepted.wait_for(8) == b"accepted"
        transport.close()
        assert await client.lost is None

    loop.run_until_complete(main())


def test_connections_that_ended_leave_nothing(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> list[weakref.ref[Any]]:
        left: list[weakref.ref[Any]] = []
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=server_context())
        async with server:
            for _ in range(5):
                context = client_context()
                transport, protocol = await loop.create_connection(
                    Recorder,
                    *server.sockets[0].getsockname(),
                    ssl=context,
                    server_hostname="localhost",
                )
                left += [weakref.ref(context), weakref.ref(protocol), weakref.ref(transport)]
                transport.close()
                await protocol.lost
        return left

    left = loop.run_until_complete(main())
    gc.collect()
    assert [ref() for ref in left] == [None] * 15


def test_connections_at_rest_give_their_buffers_back(loop: asyncio.AbstractEventLoop) -> None:
    """They go on as before, whether they kept OpenSSL's buffers or not."""
    offset = 0.0
    real = loop.time

    async def main() -> None:
        nonlocal offset
        async with contextlib.AsyncExitStack() as stack:
            pairs = [await stack.enter_async_context(pair()) for _ in range(3)]
            for turn in range(4):
                for client, server in pairs[: 3 - turn % 2]:
                    client.transport.write(b"ping%d" % turn)
                    await server.wait_for(5)
                    server.data.clear()
                offset += 1.5  # the next look at who rests is due
                await asyncio.sleep(0)

    with mock.patch.object(loop, "time", side_effect=lambda: real() + offset):
        loop.run_until_complete(main())
