"""asyncio's primitives, compiled: the same names and semantics, on any asyncio loop."""

from __future__ import annotations

from pelton._core import sleep
from pelton._nursery.channel import open_memory_channel as channel
from pelton.aio._streams import (
    StreamReader,
    StreamReaderProtocol,
    StreamWriter,
    open_connection,
    open_unix_connection,
    start_server,
    start_unix_server,
)

__all__ = [
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "channel",
    "open_connection",
    "open_unix_connection",
    "sleep",
    "start_server",
    "start_unix_server",
]
