"""What the tests of TLS share: a client's connection, and a server's options."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

from tests.server.certificates import Issued
from tests.server.support import Address, Client, Receive, Scope, Send, reply

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def files(*issued: Issued) -> dict[str, Any]:
    """The options of a server with these certificates."""
    return {
        "ssl_certfile": tuple(str(one.certificate) for one in issued),
        "ssl_keyfile": tuple(str(one.key) for one in issued),
    }


@contextlib.asynccontextmanager
async def connecting(
    address: Address, context: ssl.SSLContext, name: str = "localhost"
) -> AsyncIterator[Client]:
    """A client that asks for the server of this name."""
    reader, writer = await asyncio.open_connection(
        address.host, address.port, ssl=context, server_hostname=name
    )
    async with Client(reader, writer) as client:
        yield client


def session(client: Client) -> ssl.SSLObject:
    """What Python's ssl knows of a client's connection."""
    found = client.writer.get_extra_info("ssl_object")
    assert isinstance(found, ssl.SSLObject)
    return found


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """An application with one answer."""
    await reply(send, b"hello")
