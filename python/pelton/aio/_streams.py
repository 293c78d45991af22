"""Streams: the protocol between a transport and its reader, and the functions that open them.

What runs per message is compiled (`_core.StreamReader`, `_core.StreamWriter`); what runs per
connection is here, and follows the version of asyncio that runs.
"""

from __future__ import annotations

import asyncio
import collections
import sys
import weakref
from asyncio.log import logger
from collections.abc import Awaitable, Callable
from os import PathLike
from typing import Any, cast

from pelton import _core

__all__ = [
    "FlowControlMixin",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "open_connection",
    "open_unix_connection",
    "start_server",
    "start_unix_server",
]

# What `readline` and `readuntil` take at most, in bytes; twice as much stops reading.
DEFAULT_LIMIT = 64 * 1024

# Up to some 3.12 a server's protocol keeps the writer, so that a handler that drops it leaves the
# connection open; since then, it is closed with a ResourceWarning.
KEEPS_WRITER = not hasattr(asyncio.StreamReaderProtocol, "_replace_transport")

ClientConnected = Callable[["StreamReader", "StreamWriter"], Awaitable[None] | None]


class StreamReader(_core.StreamReader):
    """The reading half of a connection. As `asyncio.StreamReader`.

    `limit`, in bytes (None: 64 KiB), is what `readline` and `readuntil` take at most; the transport
    is stopped while twice as much is buffered. One coroutine may wait at a time: another gets
    RuntimeError. Cancelling a read loses nothing: what came stays buffered.
    """


class StreamWriter(_core.StreamWriter):
    """The writing half of a connection. As `asyncio.StreamWriter`.

    Dropped while the connection is open, it closes it with a ResourceWarning.
    """

    def __del__(self) -> None:
        self._finalize()


class FlowControlMixin(asyncio.Protocol):
    """A protocol's writing side: `drain` waits between `pause_writing` and `resume_writing`."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = asyncio.get_event_loop() if loop is None else loop
        self._paused = False
        self._connection_lost = False
        # Bounded by the tasks that write on one connection.
        self._drain_waiters: collections.deque[asyncio.Future[None]] = collections.deque()

    def pause_writing(self) -> None:
        """The transport's queue is full."""
        assert not self._paused
        self._paused = True
        if self._loop.get_debug():
            logger.debug("%r pauses writing", self)

    def resume_writing(self) -> None:
        """The transport's queue is short again."""
        assert self._paused
        self._paused = False
        if self._loop.get_debug():
            logger.debug("%r resumes writing", self)
        self._wake(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Who waits in `drain` gets `exc`, or goes on if there is none."""
        self._connection_lost = True
        if self._paused:
            self._wake(exc)

    def _wake(self, error: BaseException | None) -> None:
        for waiter in self._drain_waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    async def _drain_helper(self) -> None:
        if self._connection_lost:
            raise ConnectionResetError("Connection lost")
        if not self._paused:
            return
        waiter = self._loop.create_future()
        self._drain_waiters.append(waiter)
        try:
            await waiter
        finally:
            self._drain_waiters.remove(waiter)

    def _get_close_waiter(self, stream: _core.StreamWriter) -> asyncio.Future[None]:
        raise NotImplementedError


class StreamReaderProtocol(FlowControlMixin):
    """The protocol that feeds a `StreamReader`, and calls `client_connected_cb` on a server.

    Without that callback it holds the reader weakly: who drops reader and writer drops the
    connection. On a `pelton.Loop` the reader takes the bytes from the transport directly.
    """

    _source_traceback: Any = None

    def __init__(
        self,
        stream_reader: StreamReader | None,
        client_connected_cb: ClientConnected | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(loop=loop)
        self._stream_reader_wr: weakref.ref[StreamReader] | None = None
        if stream_reader is not None:
            self._stream_reader_wr = weakref.ref(stream_reader)
            self._source_traceback = stream_reader._source_traceback
        # Until the connection is there, nobody else may hold a server's reader.
        self._strong_reader = stream_reader if client_connected_cb is not None else None
        self._reject_connection = False
        self._stream_writer: StreamWriter | None = None
        self._task: asyncio.Task[Any] | None = None
        self._transport: asyncio.Transport | None = None
        self._client_connected_cb = client_connected_cb
        self._over_ssl = False
        self._closed: asyncio.Future[None] = self._loop.create_future()

    @property
    def _stream_reader(self) -> StreamReader | None:
        return None if self._stream_reader_wr is None else self._stream_reader_wr()

    def _replace_transport(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._over_ssl = transport.get_extra_info("sslcontext") is not None

    def _replace_writer(self, writer: StreamWriter) -> None:
        self._stream_writer = writer
        self._replace_transport(cast(asyncio.Transport, writer.transport))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The reader gets its transport; a server's callback is called."""
        stream = cast(asyncio.Transport, transport)
        if self._reject_connection:
            self._reject(stream)
            return
        self._replace_transport(stream)
        reader = self._stream_reader
        if reader is not None:
            reader.set_transport(stream)
            if type(self).data_received is StreamReaderProtocol.data_received:
                reader._attach(stream)
        if self._client_connected_cb is not None:
            assert reader is not None
            self._welcome(self._client_connected_cb, reader, stream)
            self._strong_reader = None

    def _reject(self, transport: asyncio.Transport) -> None:
        context = {
            "message": (
                "An open stream was garbage collected prior to establishing network connection; "
                'call "stream.close()" explicitly.'
            )
        }
        if self._source_traceback:
            context["source_traceback"] = self._source_traceback
        self._loop.call_exception_handler(context)
        transport.abort()

    def _welcome(
        self, callback: ClientConnected, reader: StreamReader, transport: asyncio.Transport
    ) -> None:
        writer = StreamWriter(transport, self, reader, self._loop)
        if KEEPS_WRITER:
            self._stream_writer = writer
        result = callback(reader, writer)
        if not asyncio.iscoroutine(result):
            return

        def ended(task: asyncio.Task[Any]) -> None:
            if task.cancelled():
                # Python 3.11 and 3.12.1 raise here, which the loop reports; the outcome for the
                # connection is what later versions made it.
                transport.close()
                return
            error = task.exception()
            if error is not None:
                self._loop.call_exception_handler(
                    {
                        "message": "Unhandled exception in client_connected_cb",
                        "exception": error,
                        "transport": transport,
                    }
                )
                transport.close()

        self._task = self._loop.create_task(result)
        self._task.add_done_callback(ended)

    def connection_lost(self, exc: BaseException | None) -> None:
        """The reader sees the end, or the error; so does who waits in `wait_closed`."""
        reader = self._stream_reader
        if reader is not None:
            if exc is None:
                reader.feed_eof()
            else:
                reader.set_exception(exc)
        if not self._closed.done():
            if exc is None:
                self._closed.set_result(None)
            else:
                self._closed.set_exception(exc)
        super().connection_lost(exc)
        self._stream_reader_wr = None
        self._stream_writer = None
        self._task = None
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """The reader gets them."""
        reader = self._stream_reader
        if reader is not None:
            reader.feed_data(data)

    def eof_received(self) -> bool:
        """The reader sees it. Our side stays open, but under TLS, which has no half-open state."""
        reader = self._stream_reader
        if reader is not None:
            reader.feed_eof()
        return not self._over_ssl

    def _get_close_waiter(self, stream: _core.StreamWriter) -> asyncio.Future[None]:
        return self._closed

    def __del__(self) -> None:
        # Nobody may have asked for the error; that is no news for the log.
        closed = getattr(self, "_closed", None)
        if closed is not None and closed.done() and not closed.cancelled():
            closed.exception()


async def open_connection(
    host: str | None = None,
    port: int | str | None = None,
    *,
    limit: int = DEFAULT_LIMIT,
    **kwds: Any,
) -> tuple[StreamReader, StreamWriter]:
    """Connect, and return a reader and a writer. As `asyncio.open_connection`.

    `kwds` are those of `loop.create_connection`. `limit`, in bytes, is what `readline` and
    `readuntil` take at most; reading stops while twice as much is buffered.
    """
    loop: Any = asyncio.get_running_loop()
    reader = StreamReader(limit=limit, loop=loop)
    protocol = StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, host, port, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_server(
    client_connected_cb: ClientConnected,
    host: str | list[str] | None = None,
    port: int | str | None = None,
    *,
    limit: int = DEFAULT_LIMIT,
    **kwds: Any,
) -> asyncio.Server:
    """Serve; `client_connected_cb(reader, writer)` is called for each connection. As
    `asyncio.start_server`.

    Where it returns a coroutine, that becomes a task; its error is given to the loop's exception
    handler and closes the connection. `kwds` are those of `loop.create_server`.
    """
    loop: Any = asyncio.get_running_loop()
    factory = _server_protocol(client_connected_cb, limit, loop)
    server: asyncio.Server = await loop.create_server(factory, host, port, **kwds)
    return server


async def open_unix_connection(
    path: str | PathLike[str] | None = None, *, limit: int = DEFAULT_LIMIT, **kwds: Any
) -> tuple[StreamReader, StreamWriter]:
    """`open_connection` for a Unix socket. As `asyncio.open_unix_connection`."""
    loop: Any = asyncio.get_running_loop()
    reader = StreamReader(limit=limit, loop=loop)
    protocol = StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_unix_connection(lambda: protocol, path, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_unix_server(
    client_connected_cb: ClientConnected,
    path: str | PathLike[str] | None = None,
    *,
    limit: int = DEFAULT_LIMIT,
    **kwds: Any,
) -> asyncio.Server:
    """`start_server` for a Unix socket. As `asyncio.start_unix_server`."""
    loop: Any = asyncio.get_running_loop()
    factory = _server_protocol(client_connected_cb, limit, loop)
    server: asyncio.Server = await loop.create_unix_server(factory, path, **kwds)
    return server


def _server_protocol(
    callback: ClientConnected, limit: int, loop: asyncio.AbstractEventLoop
) -> Callable[[], StreamReaderProtocol]:
    def factory() -> StreamReaderProtocol:
        reader = StreamReader(limit=limit, loop=loop)
        return StreamReaderProtocol(reader, callback, loop=loop)

    return factory


async def start_tls(
    writer: StreamWriter,
    sslcontext: Any,
    *,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    **shutdown_timeout: float | None,
) -> None:
    """`StreamWriter.start_tls`; with `ssl_shutdown_timeout` from Python 3.12 on, as in asyncio."""
    _check_start_tls(shutdown_timeout)
    protocol = writer._protocol
    server_side = protocol._client_connected_cb is not None
    await writer.drain()
    transport = await writer._loop.start_tls(
        writer._transport,
        protocol,
        sslcontext,
        server_side=server_side,
        server_hostname=server_hostname,
        ssl_handshake_timeout=ssl_handshake_timeout,
        **shutdown_timeout,
    )
    assert transport is not None
    writer._transport = transport
    protocol._replace_transport(transport)


def _check_start_tls(given: dict[str, float | None]) -> None:
    known = {"ssl_shutdown_timeout"} if sys.version_info >= (3, 12) else set()
    for name in given.keys() - known:
        raise TypeError(f"start_tls() got an unexpected keyword argument {name!r}")
