"""Transports of streams, datagrams, pipes and TLS, and what accepts connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, final

from ._loop import BaseLoop

@final
class StreamTransport(asyncio.Transport):
    """A stream socket's transport. (`isinstance` holds; it does not really inherit.)

    It owns `socket`: closing the transport closes it. `waiter` gets None once `connection_made`
    was called; `server` is told of the connection and of its end.
    """

    def __new__(
        cls,
        event_loop: BaseLoop,
        socket: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> StreamTransport: ...

def read_pipe(event_loop: BaseLoop, fd: int, size: int, last: int) -> bytes | None:
    """Read up to `size` bytes, 256 KiB at most, from a descriptor that does not block; b"" at its
    end, None if nothing is there. `last`: how long the last read was."""

@final
class DatagramTransport(asyncio.DatagramTransport):
    """A datagram socket's transport. (`isinstance` holds; it does not really inherit.)

    It owns `socket`: closing the transport closes it. With an `address`, all datagrams go there.
    `waiter` gets None once `connection_made` was called.
    """

    max_size: int
    """Bytes of a datagram that are received at most, 256 KiB or fewer; the rest of it is lost."""

    def __new__(
        cls,
        event_loop: BaseLoop,
        socket: socket.socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> DatagramTransport: ...
    def pause_reading(self) -> None:
        """Leave what comes to the kernel, which drops what its buffer has no room for."""
    def resume_reading(self) -> None:
        """Read again."""
    def is_reading(self) -> bool:
        """Whether it is neither paused nor closing."""
    def get_write_buffer_size(self) -> int:
        """Bytes queued."""
    def get_write_buffer_limits(self) -> tuple[int, int]:
        """`(low, high)`, in bytes."""
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The protocol pauses writing above `high` queued bytes, and resumes at `low` or fewer."""

@final
class TlsOptions:
    """How to do TLS on a connection, or on all those of a server.

    Timeouts are in seconds. `short` false keeps records on the methods of `ssl.SSLObject`; so does
    an OpenSSL that cannot be reached from here.
    """

    def __new__(
        cls,
        context: ssl.SSLContext,
        server_side: bool,
        server_hostname: str | None,
        handshake_timeout: float,
        shutdown_timeout: float,
        short: bool,
    ) -> TlsOptions: ...

@final
class TlsTransport(asyncio.Transport):
    """A TLS connection's transport. (`isinstance` holds; it does not really inherit.)"""

    @staticmethod
    def connect(
        event_loop: BaseLoop,
        socket: socket.socket,
        protocol: asyncio.BaseProtocol,
        options: TlsOptions,
        waiter: asyncio.Future[None] | None,
        extra: dict[str, Any] | None,
        server: Any,
    ) -> TlsTransport:
        """TLS on a connected, non-blocking socket, which the transport owns.

        `waiter` gets None after the handshake, or its exception."""
    @staticmethod
    def upgrade(
        raw: StreamTransport,
        protocol: asyncio.BaseProtocol,
        options: TlsOptions,
        waiter: asyncio.Future[None],
    ) -> TlsTransport:
        """TLS from now on over an open transport, whose protocol was told of its connection."""
    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Kept for programs written for asyncio's transport; reading stops at `pause_reading`."""
    def get_read_buffer_limits(self) -> tuple[int, int]:
        """`(low, high)`, in bytes."""
    def get_read_buffer_size(self) -> int:
        """Bytes that came and were not decrypted yet."""

@final
class ListenerHandle:
    """Accepts connections on a listening socket, which stays its owner's to close."""

    def __new__(
        cls,
        event_loop: BaseLoop,
        socket: socket.socket,
        factory: Callable[[], asyncio.BaseProtocol],
        server: Any,
        tls: TlsOptions | None = None,
    ) -> ListenerHandle: ...
    def stop(self) -> None:
        """Accept no more."""
