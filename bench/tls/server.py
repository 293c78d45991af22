"""A TLS server on one loop: `python -m bench.tls.server PEER STYLE PORT`.

It answers HTTP GETs with a small page, or echoes. The certificate is that of the tests.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.echo.server import BUFFER_SIZE, BufferedEcho, Echo, until_stopped
from bench.loops import loop_factory

CERTIFICATE = Path(__file__).parents[2] / "tests" / "event_loop" / "certs" / "server.pem"
# Peers that put their transports on another's loop.
OVER = {"aiofastnet, asyncio": "asyncio", "aiofastnet, uvloop": "uvloop"}
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\ncontent-type: text/plain\r\n\r\nHello, world!"


class Hello(Echo):
    """Answers every GET; requests have no body and come whole."""

    def data_received(self, data: bytes) -> None:
        """Send an answer for each request."""
        count = data.count(b"\r\n\r\n")
        if count:
            self.transport.write(ANSWER * count)


def context() -> ssl.SSLContext:
    """A server's, as its documentation makes it."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(CERTIFICATE)
    return made


async def serve_protocol(peer: str, factory: Callable[[], asyncio.BaseProtocol], port: int) -> None:
    """`create_server` with a protocol."""
    loop = asyncio.get_running_loop()
    create: Any = loop.create_server
    if peer in OVER:
        aiofastnet = import_module("aiofastnet")

        def create(*args: Any, **kwargs: Any) -> Any:
            return aiofastnet.create_server(loop, *args, **kwargs)

    await until_stopped(await create(factory, "127.0.0.1", port, ssl=context()))


async def serve_streams(peer: str, port: int) -> None:
    """`start_server` with a reader and a writer, of each peer's own."""
    modules = {"pelton": "pelton.aio"} | dict.fromkeys(OVER, "aiofastnet")
    streams: Any = import_module(modules.get(peer, "asyncio"))

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(BUFFER_SIZE):
            writer.write(data)
            await writer.drain()
        writer.close()

    # aiofastnet's functions take the loop first.
    first = [asyncio.get_running_loop()] if peer in OVER else []
    server = await streams.start_server(
        *first, echo, "127.0.0.1", port, limit=BUFFER_SIZE, ssl=context()
    )
    await until_stopped(server)


STYLES: dict[str, Callable[[str, int], Awaitable[None]]] = {
    "http": lambda peer, port: serve_protocol(peer, Hello, port),
    "protocol": lambda peer, port: serve_protocol(peer, Echo, port),
    "buffered": lambda peer, port: serve_protocol(peer, BufferedEcho, port),
    "streams": serve_streams,
}


async def main(peer: str, style: str, port: int) -> None:
    """Serve until the process is stopped."""
    await STYLES[style](peer, port)


if __name__ == "__main__":
    name = sys.argv[1]
    with asyncio.Runner(loop_factory=loop_factory(OVER.get(name, name))) as runner:
        runner.run(main(name, sys.argv[2], int(sys.argv[3])))
