"""A connection of a client of the web's soak."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import Any

GET = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n%s\r\n"

#: The longest that a rude client takes over anything.
PATIENCE_S = 3.0


class Peer:
    """A connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> tuple[int, bytes]:
        """The next response: its status and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        body = await self.reader.readexactly(int(fields[b"content-length"]))
        return int(head.split(b" ", 2)[1]), body

    def end(self) -> None:
        """Sends no more; over TLS that is the end of both directions."""
        if self.writer.can_write_eof():
            self.writer.write_eof()

    def reset(self) -> None:
        """Dies without a word."""
        sock: socket.socket | None = self.writer.get_extra_info("socket")
        if sock is not None:  # over TLS there is none any more once it is closed
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def connect(orders: dict[str, Any], alpn: str | None = None) -> Peer:
    """A connection: by TLS, on which this protocol was agreed, or without any."""
    context = None
    if alpn is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols([alpn])
    port = orders["port"] if alpn is None else orders["tls_port"]
    return Peer(*await asyncio.open_connection(orders["host"], port, ssl=context))
