"""An echo server on one loop: `python -m bench.echo.server LOOP STYLE PORT`."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import cast

from bench.loops import loop_factory

# A 64 KiB message in one piece, where a style's buffer is ours to choose.
BUFFER_SIZE = 256 * 1024


class Echo(asyncio.Protocol):
    """Writes what it is given."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """Reads into a buffer of its own, and writes from it."""

    def __init__(self) -> None:
        self.buffer = bytearray(BUFFER_SIZE)
        self.view = memoryview(self.buffer)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        """The whole buffer: all that was read was copied out by then."""
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Send it back: a copy, since a transport may keep what it is given."""
        self.transport.write(bytes(self.view[:nbytes]))


async def serve_protocol(port: int) -> None:
    """`create_server` with a protocol."""
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)
    await until_stopped(server)


async def serve_buffered(port: int) -> None:
    """`create_server` with a buffered protocol."""
    server = await asyncio.get_running_loop().create_server(BufferedEcho, "127.0.0.1", port)
    await until_stopped(server)


async def serve_streams(port: int) -> None:
    """`start_server` with a reader and a writer: on our loop, ours; else asyncio's."""
    streams = import_module("pelton.aio" if sys.argv[1] == "pelton" else "asyncio")

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(BUFFER_SIZE):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await streams.start_server(echo, "127.0.0.1", port, limit=BUFFER_SIZE)
    await until_stopped(server)


async def serve_sock(port: int) -> None:
    """`sock_accept`, `sock_recv` and `sock_sendall`."""
    loop = asyncio.get_running_loop()

    async def echo(connection: socket.socket) -> None:
        with connection:
            while data := await loop.sock_recv(connection, BUFFER_SIZE):
                await loop.sock_sendall(connection, data)

    async with asyncio.TaskGroup() as connections:
        with socket.create_server(("127.0.0.1", port)) as listener:
            listener.setblocking(False)
            while True:
                connection, _ = await loop.sock_accept(listener)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections.create_task(echo(connection))


async def until_stopped(server: asyncio.AbstractServer) -> None:
    """Keep the server. Not `serve_forever`, in which rloop starts it twice, and fails."""
    await asyncio.get_running_loop().create_future()
    server.close()


STYLES: dict[str, Callable[[int], Awaitable[None]]] = {
    "protocol": serve_protocol,
    "buffered": serve_buffered,
    "streams": serve_streams,
    "sock_*": serve_sock,
}


async def main(style: str, port: int) -> None:
    """Serve until the process is stopped."""
    await STYLES[style](port)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory(sys.argv[1])) as runner:
        runner.run(main(sys.argv[2], int(sys.argv[3])))
