"""The server of the soak: echoes on pelton's loop, and counts what it holds when asked. A program.

It prints its addresses as a line of JSON; each line on its input is answered by a `Held` one.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import ssl
import sys
from dataclasses import asdict
from typing import Any

import pelton
from pelton import aio, observe
from tests.soak.held import Held, raise_limit

CHUNK_BYTES = 65_536
#: Asks a server of the kind "start_tls" to go on with TLS, and is its answer.
START_TLS = b"STARTTLS\n"


class Echo(asyncio.Protocol):
    """Writes back what comes, and stops reading while the peer does not."""

    open = 0
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Echo.open += 1
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        Echo.open -= 1


class BufferedEcho(asyncio.BufferedProtocol):
    """The same through a buffer of its own."""

    def __init__(self) -> None:
        self._buffer = bytearray(CHUNK_BYTES)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Echo.open += 1
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(bytes(memoryview(self._buffer)[:nbytes]))

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        Echo.open -= 1


async def echo(reader: Any, writer: Any) -> None:
    """The same through streams, asyncio's or pelton.aio's."""
    Echo.open += 1
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the load resets connections
    finally:
        Echo.open -= 1
        writer.close()


def upgrade(context: ssl.SSLContext) -> Any:
    """The same after `START_TLS`, which the client sends first, and the handshake that follows."""

    async def welcome(reader: Any, writer: Any) -> None:
        Echo.open += 1
        try:
            # Nothing if it died before.
            if await reader.readline() == START_TLS:
                writer.write(START_TLS)
                await writer.start_tls(context)
                await echo(reader, writer)
        except (ConnectionError, ssl.SSLError):
            pass  # the load breaks handshakes off
        finally:
            Echo.open -= 1
            writer.close()

    return welcome


class Server:
    """Every kind of server, and what they all hold."""

    def __init__(self, folder: str, tls: bool) -> None:
        self._folder = folder
        self._tls = tls
        self._complaints: list[str] = []

    async def run(self) -> None:
        """Serves until the input ends."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._complain)
        servers = await self._listen(loop)
        addresses = {kind: server.sockets[0].getsockname() for kind, server in servers.items()}
        print(json.dumps(addresses), flush=True)
        asked = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
        while await asked.readline():
            print(json.dumps(asdict(self._held())), flush=True)
        for server in servers.values():
            server.close()

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
        here: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "backlog": 4096}
        servers: dict[str, Any] = {
            "protocol": await loop.create_server(Echo, **here),
            "buffered": await loop.create_server(BufferedEcho, **here),
            "streams": await asyncio.start_server(echo, **here),
            "aio": await aio.start_server(echo, **here),
            "unix": await loop.create_unix_server(Echo, f"{self._folder}/echo", backlog=4096),
        }
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(f"{self._folder}/cert.pem", f"{self._folder}/key.pem")
            servers["tls"] = await loop.create_server(Echo, ssl=context, **here)
            servers["tls_aio"] = await aio.start_server(echo, ssl=context, **here)
            servers["start_tls"] = await aio.start_server(upgrade(context), **here)
        return servers

    def _held(self) -> Held:
        gc.collect()
        current = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not current]
        return Held.now(
            connections=Echo.open,
            transports=observe.loop_stats().transports,
            tasks=len(tasks),
            complaints=self._complaints,
        )

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # A handshake that the load breaks off is reported, as asyncio reports it.
        if not isinstance(context.get("exception"), ConnectionError | ssl.SSLError):
            self._complaints.append(f"{context.get('message')}: {context.get('exception')!r}")


if __name__ == "__main__":
    raise_limit(int(sys.argv[1]))
    os.chdir(sys.argv[2])
    pelton.run(Server(".", tls=os.path.exists("cert.pem")).run())
