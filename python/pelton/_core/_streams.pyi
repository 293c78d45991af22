"""The two halves of a connection in `pelton.aio`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Self

from typing_extensions import disjoint_base

@disjoint_base
class StreamReader:
    """The reading half of a connection. As `asyncio.StreamReader`.

    `limit`, in bytes (None: 64 KiB), is what `readline` and `readuntil` take at most; the transport
    is stopped while twice as much is buffered. One coroutine may wait at a time: another gets
    RuntimeError. Cancelling a read loses nothing: what came stays buffered.
    """

    def __new__(
        cls, limit: int | None = None, loop: asyncio.AbstractEventLoop | None = None
    ) -> Self: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, bytes]: ...
    def exception(self) -> BaseException | None:
        """The exception of `set_exception`, or None."""
    def set_exception(self, exc: BaseException) -> None:
        """Has reads fail with `exc` from now on, the one that waits included."""
    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        """The transport that is stopped while too much is buffered. AssertionError if there is
        one already."""
    def feed_data(self, data: bytes | bytearray | memoryview) -> None:
        """Adds bytes that came. AssertionError after `feed_eof`."""
    def feed_eof(self) -> None:
        """Nothing more will come."""
    def at_eof(self) -> bool:
        """Whether everything was read and nothing more will come."""
    def read(self, n: int = -1) -> Coroutine[Any, Any, bytes]:
        """Up to `n` bytes, as soon as there are any; empty at the end. All until the end if `n` is
        negative."""
    def readexactly(self, n: int) -> Coroutine[Any, Any, bytes]:
        """Exactly `n` bytes; `asyncio.IncompleteReadError` if the end comes before."""
    def readuntil(
        self, separator: bytes | bytearray | memoryview | tuple[bytes, ...] = b"\n"
    ) -> Coroutine[Any, Any, bytes]:
        """The bytes up to and with `separator`, or the one of several that ends first.

        `asyncio.LimitOverrunError`, with the bytes left in place, when more than the limit comes
        before it; `asyncio.IncompleteReadError`, with what there was, at the end."""
    def readline(self) -> Coroutine[Any, Any, bytes]:
        """A line with its newline; what there is at the end. ValueError, the line being dropped,
        when it is longer than the limit."""
    def _attach(self, transport: asyncio.BaseTransport) -> None:
        """Takes the bytes of a transport of ours directly, without its protocol."""
    @property
    def _buffer(self) -> bytes: ...
    @property
    def _eof(self) -> bool: ...
    @property
    def _exception(self) -> BaseException | None: ...
    @property
    def _limit(self) -> int: ...
    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def _paused(self) -> bool: ...
    @property
    def _source_traceback(self) -> Any: ...
    _transport: asyncio.BaseTransport | None
    _waiter: asyncio.Future[None] | None

@disjoint_base
class StreamWriter:
    """The writing half of a connection. As `asyncio.StreamWriter`.

    Dropped while the connection is open, it closes it with a ResourceWarning.
    """

    def __new__(
        cls,
        transport: asyncio.WriteTransport,
        protocol: asyncio.BaseProtocol,
        reader: StreamReader | None,
        loop: asyncio.AbstractEventLoop,
    ) -> Self: ...
    @property
    def transport(self) -> asyncio.WriteTransport:
        """The transport."""
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends bytes: now if nothing waits, and else after what does. Never blocks; `drain`
        does."""
    def writelines(self, data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Sends chunks, in one system call where it can."""
    def drain(self) -> Coroutine[Any, Any, None]:
        """Waits until the transport's queue is short. ConnectionResetError, or the connection's
        own error, when it is gone."""
    def write_eof(self) -> None:
        """Ends our side once everything is sent; reading goes on."""
    def can_write_eof(self) -> bool:
        """Whether the transport knows `write_eof`: TLS does not."""
    def close(self) -> None:
        """Closes once everything is sent."""
    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
    def wait_closed(self) -> Coroutine[Any, Any, None]:
        """Waits until the connection is closed; raises the error that ended it."""
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows by that name."""
    def start_tls(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, None]:
        """Goes on with TLS: `start_tls(sslcontext, *, server_hostname=None,
        ssl_handshake_timeout=None, ssl_shutdown_timeout=None)`, the last from Python 3.12 on."""
    @property
    def _protocol(self) -> Any: ...
    @property
    def _reader(self) -> StreamReader | None: ...
    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    def _finalize(self) -> None: ...
    _transport: asyncio.WriteTransport
