"""Listening sockets: addresses, options, and what happens when descriptors run out."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pelton


class Echo(asyncio.Protocol):
    """Sends back what comes, and closes at the end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def talk(address: Any, family: int = socket.AF_INET) -> bytes:
    """What an echo server answers."""
    loop = asyncio.get_running_loop()
    with socket.socket(family) as client:
        client.setblocking(False)
        await loop.sock_connect(client, address)
        await loop.sock_sendall(client, b"hello")
        return await loop.sock_recv(client, 100)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go on until `condition` holds; the test's timeout is the bound."""
    while not condition():  # noqa: ASYNC110  nothing tells
        await asyncio.sleep(0.001)


def exists(path: str) -> bool:
    """Whether there is such a file."""
    return os.path.exists(path)


async def stop(server: asyncio.AbstractServer) -> None:
    """Close, and wait for it."""
    server.close()
    await server.wait_closed()


def test_a_server_listens_on_several_hosts(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, ["127.0.0.1", "127.0.0.2"], 0)
        addresses = [listening.getsockname() for listening in server.sockets]
        assert {host for host, _ in addresses} == {"127.0.0.1", "127.0.0.2"}
        for address in addresses:
            assert await talk(address) == b"hello"
        await stop(server)

    loop.run_until_complete(main())


def test_two_servers_share_a_port(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        first = await loop.create_server(Echo, "127.0.0.1", 0, reuse_port=True)
        address = first.sockets[0].getsockname()
        second = await loop.create_server(Echo, *address, reuse_port=True)
        assert await talk(address) == b"hello"
        await stop(first)
        assert await talk(address) == b"hello"
        await stop(second)

    loop.run_until_complete(main())


def test_serving_can_start_later(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await talk(server.sockets[0].getsockname())
        await server.start_serving()
        assert await talk(server.sockets[0].getsockname()) == b"hello"
        await stop(server)

    loop.run_until_complete(main())


def test_keep_alive_is_set(loop: asyncio.AbstractEventLoop) -> None:
    if sys.version_info < (3, 13):
        pytest.skip("asyncio has it from 3.13 on")

    async def main() -> None:
        create: Any = loop.create_server
        server = await create(Echo, "127.0.0.1", 0, keep_alive=True)
        listening = server.sockets[0]
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        await stop(server)

    loop.run_until_complete(main())


def test_a_stale_unix_path_is_taken_over(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / "stale")
        with socket.socket(socket.AF_UNIX) as left_over:
            left_over.bind(path)
        server = await loop.create_unix_server(Echo, path)
        assert await talk(path, socket.AF_UNIX) == b"hello"
        await stop(server)
        # Since 3.13 the file goes with the server, unless one says otherwise.
        assert exists(path) is (sys.version_info < (3, 13))
        if sys.version_info >= (3, 13):
            create: Any = loop.create_unix_server
            server = await create(Echo, path, cleanup_socket=False)
            await stop(server)
            assert exists(path)

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_an_abstract_unix_name(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        name = f"\0pelton-test-{os.getpid()}"
        server = await loop.create_unix_server(Echo, name)
        assert await talk(name, socket.AF_UNIX) == b"hello"
        assert server.sockets[0].getsockname() == name.encode()
        await stop(server)

    loop.run_until_complete(main())


def test_out_of_descriptors_is_reported_and_accepting_rests(our_loop: pelton.Loop) -> None:
    reports: list[dict[str, Any]] = []
    our_loop.set_exception_handler(lambda _, context: reports.append(context))

    async def main() -> None:
        server = await our_loop.create_server(Echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        with socket.socket() as client:
            client.setblocking(False)
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            highest = max(int(name) for name in os.listdir("/proc/self/fd"))
            spare = [os.dup(0) for _ in range(highest)]  # no number below the limit is free
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, before[1]))
            try:
                await our_loop.sock_connect(client, address)
                await until(lambda: bool(reports))
                await asyncio.sleep(0.01)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
                for descriptor in spare:
                    os.close(descriptor)
            await our_loop.sock_sendall(client, b"hello")
            assert await our_loop.sock_recv(client, 100) == b"hello"  # a second later
        await stop(server)

    our_loop.run_until_complete(main())
    assert [report["message"] for report in reports] == ["socket.accept() out of system resource"]
    assert reports[0]["socket"].fileno() == -1  # the listening socket, closed by now
    assert isinstance(reports[0]["exception"], OSError)


def test_writes_after_the_end_are_logged(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(Echo, *server.sockets[0].getsockname())
        transport.abort()
        for _ in range(10):
            transport.write(b"into the void")
        await asyncio.sleep(0)
        await stop(server)

    loop.run_until_complete(main())
    assert "socket.send() raised exception." in caplog.text


def test_what_is_written_is_what_it_was_then(loop: asyncio.AbstractEventLoop) -> None:
    if sys.version_info >= (3, 12) and not isinstance(loop, pelton.Loop):
        pytest.skip("asyncio keeps the caller's buffer itself since 3.12")

    async def main() -> None:
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        ours, peer = socket.socketpair()
        transport, _ = await loop.create_connection(Echo, sock=ours)
        sent = 0
        while transport.get_write_buffer_size() == 0:  # until the kernel takes no more
            transport.write(bytes(1 << 16))
            sent += 1 << 16
        changing = bytearray(b"then")
        transport.write(changing)
        changing[:] = b"now!"
        transport.write_eof()
        got = bytearray()
        while data := await loop.run_in_executor(None, peer.recv, 1 << 20):
            got += data
        assert bytes(got[sent:]) == b"then"
        transport.close()
        peer.close()
        await stop(server)

    loop.run_until_complete(main())
