"""A server and a raw client in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pelton
from pelton.server import Config, Server, stats

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LIMIT = 20.0
"""Seconds that a test may take before it counts as hanging."""


def run(main: Coroutine[Any, Any, None], limit: float = LIMIT) -> None:
    """Runs a test's coroutine in Pelton's loop."""

    async def bounded() -> None:
        async with asyncio.timeout(limit):
            await main

    pelton.run(bounded())


@dataclass
class Address:
    """Where a test's server listens, and the server."""

    server: Server
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def connect(self, receive_buffer: int | None = None) -> Client:
        """A connection; `receive_buffer`: bytes that the kernel keeps for a client that is slow."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (self.host, self.port))
        except OSError:
            sock.close()
            raise
        return Client(*await asyncio.open_connection(sock=sock))

    async def ask(self, request: bytes) -> Response:
        """The answer to one request on a connection of its own."""
        async with await self.connect() as client:
            client.send(request)
            return await client.response(b"HEAD" if request.startswith(b"HEAD") else b"")


@contextlib.asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[Address]:
    """Serves `app` on a free port while the block runs, then stops gracefully."""
    started = asyncio.Event()
    options = {"lifespan": "off", **options}
    server = Server(app, Config(port=0, **options), on_started=started.set)
    task = asyncio.create_task(server.serve())
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        await task
    split = urlsplit(server.addresses[0])
    assert split.hostname is not None
    assert split.port is not None
    try:
        yield Address(server, split.hostname, split.port)
    finally:
        server.stop()
        await task


@dataclass
class Response:
    """A response, taken apart."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


class Client:
    """A connection that sends bytes as they are and reads responses strictly."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def head(self) -> Response:
        """The next response's head."""
        data = await self.reader.readuntil(b"\r\n\r\n")
        line, *fields = data.decode("latin-1").split("\r\n")[:-2]
        version, status, _ = line.split(" ", 2)
        assert version == "HTTP/1.1"
        pairs = [field.split(": ", 1) for field in fields]
        return Response(int(status), [(name, value) for name, value in pairs], b"")

    async def response(self, method: bytes = b"") -> Response:
        """The next response with its body."""
        response = await self.head()
        length = response.header("content-length")
        if method == b"HEAD" or response.status in (101, 204, 304):
            return response
        if response.header("transfer-encoding") == "chunked":
            assert length is None
            response.body = b"".join([chunk async for chunk in self.chunks()])
        elif length is not None:
            response.body = await self.reader.readexactly(int(length))
        else:
            response.body = await self.reader.read()
        return response

    async def chunks(self) -> AsyncIterator[bytes]:
        """The chunks of a body, to its end."""
        while size := int(await self.reader.readline(), 16):
            yield await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        assert await self.reader.readline() == b"\r\n"

    async def closed(self) -> bool:
        """Whether the server closes without a further byte."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True


async def read_body(receive: Receive) -> bytes:
    """A request's whole body."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


async def reply(send: Send, body: bytes = b"", status: int = 200, *headers: Any) -> None:
    """Answers in one go."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def none_open() -> None:
    """Waits until no connection of this process's servers is open. Polls: `run` has a limit."""
    while stats()["connections"]:  # noqa: ASYNC110 - nothing signals it
        await asyncio.sleep(0.01)
