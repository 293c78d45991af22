"""What a connection's transport is to its program: its attributes, its bytes, and its reports."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import pelton
from pelton import aio
from tests.event_loop.test_streams import Recorder, pair, until
from tests.event_loop.test_tls import client_context, server_context
from tests.event_loop.test_tls import pair as tls_pair


def test_a_method_may_be_replaced_on_one_transport(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        async with pair() as (client, server):
            written: list[bytes] = []
            client.transport.write = written.append  # type: ignore[method-assign,assignment]
            client.transport.write(b"kept")
            assert written == [b"kept"]
            del client.transport.write
            client.transport.write(b"sent")
            await until(lambda: server.data == b"sent")

    loop.run_until_complete(main())


def test_a_stream_writer_calls_the_replaced_method(our_loop: pelton.Loop) -> None:
    async def main() -> None:
        async def echo(reader: Any, writer: Any) -> None:
            writer.write(await reader.readexactly(4))
            await writer.drain()
            writer.close()

        async with await aio.start_server(echo, "127.0.0.1", 0) as server:
            reader, writer = await aio.open_connection(*server.sockets[0].getsockname())
            written: list[bytes] = []
            send = writer.transport.write

            def note(data: bytes) -> None:
                written.append(data)
                send(data)

            writer.transport.write = note  # type: ignore[method-assign,assignment]
            writer.write(b"echo")
            assert await reader.read() == b"echo"
            assert written == [b"echo"]
            writer.close()
            await writer.wait_closed()

    our_loop.run_until_complete(main())


class Keeper(Recorder):
    """Keeps the objects it is given, every second one."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[bytes] = []
        self.seen = 0

    def data_received(self, data: bytes) -> None:
        self.seen += 1
        if self.seen % 2:
            self.kept.append(data)
            hash(data)  # the cached hash must not outlive the bytes
        self.transport.write(str(hash(data)).encode() + b"\n")


def test_kept_bytes_are_never_written_again(loop: asyncio.AbstractEventLoop) -> None:
    sizes = [1, 1, 2, 700, 1000, 1000, 400, 900, 5000, 3000, 20000, 1, 15000, 9000]
    messages = [bytes([65 + index]) * size for index, size in enumerate(sizes)]

    async def main() -> None:
        async with pair(Keeper) as (client, server):
            for count, message in enumerate(messages, 1):
                client.data.clear()
                client.transport.write(message)
                await until(lambda count=count: server.seen == count)  # type: ignore[misc]
                await until(lambda: client.data.endswith(b"\n"))
                assert int(client.data) == hash(message)
            assert server.kept == messages[::2]

    loop.run_until_complete(main())


def test_debug_mode_logs_a_slow_protocol(
    our_loop: pelton.Loop, caplog: pytest.LogCaptureFixture
) -> None:
    class Slow(Recorder):
        def data_received(self, data: bytes) -> None:
            until_then = time.monotonic() + 0.02
            while time.monotonic() < until_then:
                pass
            super().data_received(data)

        def __repr__(self) -> str:
            return "<Slow>"

    async def main() -> None:
        async with pair(Slow) as (client, server):
            our_loop.set_debug(True)
            our_loop.slow_callback_duration = 0.01
            client.transport.write(b"x")
            await until(lambda: server.data == b"x")
            our_loop.set_debug(False)

    with caplog.at_level(logging.WARNING, logger="asyncio"):
        our_loop.run_until_complete(main())
    assert any("a callback of <Slow> took" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("failing", ["connection_made", "data_received", "connection_lost"])
def test_a_failing_protocol_is_named_to_the_exception_handler(
    our_loop: pelton.Loop, failing: str
) -> None:
    def fail(self: Any, *_: Any) -> None:
        raise ZeroDivisionError(failing)

    failed = type("Failed", (asyncio.Protocol,), {failing: fail})()
    contexts: list[dict[str, Any]] = []
    our_loop.set_exception_handler(lambda _, context: contexts.append(context))

    async def main() -> None:
        server = await our_loop.create_server(lambda: failed, "127.0.0.1", 0)
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"x")
            if failing == "connection_lost":
                writer.close()
            await until(lambda: bool(contexts))
            contexts[0]["transport"].abort()  # asyncio, too, leaves it open after connection_made
            writer.close()

    our_loop.run_until_complete(main())
    (context,) = contexts
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["protocol"] is failed
    assert isinstance(context["transport"], asyncio.Transport)
    assert failing in context["message"]


def test_an_executor_where_ours_stands_for_asyncios_loop(
    our_loop: pelton.Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio, "SelectorEventLoop", pelton.Loop)
    with ThreadPoolExecutor(1) as executor:
        future = our_loop.run_in_executor(executor, str, 7)
        assert our_loop.run_until_complete(future) == "7"


def test_a_cycle_through_an_attribute_is_collected(our_loop: pelton.Loop) -> None:
    class Keeps:
        """What a program hangs on a transport, and refers back to it."""

        def __init__(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

    async def main() -> list[weakref.ref[Any]]:
        loop = asyncio.get_running_loop()
        found: list[weakref.ref[Any]] = []

        async with pair() as (client, _):
            client.transport.keeps = Keeps(client.transport)
            found += [weakref.ref(client.transport), weakref.ref(client.transport.keeps)]
        datagrams, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        datagrams.keeps = Keeps(datagrams)  # type: ignore[attr-defined]
        found += [weakref.ref(datagrams)]
        datagrams.close()
        async with tls_pair() as (secret, _):
            secret.transport.keeps = Keeps(secret.transport)
            found += [weakref.ref(secret.transport), weakref.ref(secret.transport.keeps)]
        await asyncio.sleep(0)
        return found

    found = our_loop.run_until_complete(main())
    gc.collect()
    assert [ref() for ref in found] == [None] * len(found)


def test_a_transport_has_no_dict_before_it_needs_one(our_loop: pelton.Loop) -> None:
    async def main() -> None:
        async with pair() as (client, _):
            assert not [held for held in gc.get_referents(client.transport) if held == {}]
            client.transport.note = 1
            assert {"note": 1} in gc.get_referents(client.transport)
            assert client.transport.__dict__ == {"note": 1}

    our_loop.run_until_complete(main())


class Counting(socket.socket):
    """A socket of a program's own: it counts the bytes that it moves."""

    came = went = 0

    def recv(self, *args: Any) -> bytes:
        data = super().recv(*args)
        self.came += len(data)
        return data

    def recv_into(self, *args: Any) -> int:
        count = super().recv_into(*args)
        self.came += count
        return count

    def send(self, *args: Any) -> int:
        sent = super().send(*args)
        self.went += sent
        return sent


@pytest.mark.parametrize("secret", [False, True])
def test_a_socket_that_reads_and_writes_its_own_way(
    loop: asyncio.AbstractEventLoop, secret: bool
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        context = server_context() if secret else None
        server = await loop.create_server(Echoes, "127.0.0.1", 0, ssl=context)
        async with server:
            counting = Counting()
            counting.setblocking(False)
            await loop.sock_connect(counting, server.sockets[0].getsockname())
            options: dict[str, Any] = {}
            if secret:
                options = {"ssl": client_context(), "server_hostname": "localhost"}
            transport, protocol = await loop.create_connection(Recorder, sock=counting, **options)
            transport.write(bytes(1000))
            await until(lambda: len(protocol.data) == 1000)
            assert counting.came >= 1000
            assert counting.went >= 1000
            transport.abort()
            await protocol.lost

    loop.run_until_complete(main())


class Echoes(Recorder):
    """Sends back what comes."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
