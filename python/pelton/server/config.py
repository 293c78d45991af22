"""The options of a server, with their defaults and limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

__all__ = ["Config", "ConfigError"]

_KIBI = 1024
_MEBI = 1024 * 1024


class ConfigError(ValueError):
    """An option, or a set of options, that cannot be: the message says what can."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Every option of a server. Times are seconds, sizes are bytes.

    Raises ConfigError for values that cannot be.
    """

    host: str = "127.0.0.1"
    """The address to listen on; `0.0.0.0` and `::` are all of them."""
    port: int = 8000
    """The TCP port; 0 is any free one."""
    uds: str | None = None
    """A path for a Unix socket, instead of host and port."""
    fd: int | None = None
    """A listening socket that this process inherited, instead of host and port."""
    backlog: int = 2048
    """Connections that the kernel keeps until they are accepted."""
    workers: int = 1
    """Processes that serve. With more than one, APP is an import string."""
    root_path: str = ""
    """The prefix under which a proxy serves the app, as ASGI's `root_path`."""
    lifespan: Literal["auto", "on", "off"] = "auto"
    """`on`: an app without lifespan is an error. `auto`: it is not."""
    access_log: bool = False
    """One line a request to the logger `pelton.access`."""
    server_header: str | None = "pelton"
    """The `server` header; None for none."""
    mounts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """ASGI apps by path prefix (`/_pelton`), answered before the app. They get no lifespan."""
    max_connections: int = 10_000
    """Open connections of a worker; above it each new one is answered 503."""
    max_request_line: int = 8 * _KIBI
    """Longer request lines are answered 414."""
    max_head: int = 64 * _KIBI
    """Larger request heads, or trailers, are answered 431."""
    max_headers: int = 100
    """Requests with more header fields (at most 256) are answered 431."""
    max_body: int | None = 100 * _MEBI
    """Larger request bodies are answered 413; None for no limit."""
    head_timeout: float = 30.0
    """From a request's first byte to the end of its head; then 408."""
    body_timeout: float = 60.0
    """Between two pieces of a body that the app waits for; then 408."""
    write_timeout: float = 60.0
    """For a client that takes nothing of what is ready for it; then its connection is dropped."""
    keep_alive: float = 30.0
    """Between two requests of a connection; then it is closed."""
    graceful_timeout: float = 30.0
    """From SIGTERM or SIGINT until requests under way are given up."""
    startup_timeout: float | None = None
    """For the app's lifespan startup; None waits for as long as it takes."""
    http2: bool = True
    """HTTP/2 for clients that begin with it, or agree on it by TLS."""
    http2_max_streams: int = 100
    """Requests under way at once on an HTTP/2 connection; more are refused, to be sent again."""
    http2_stream_window: int = 128 * _KIBI
    """Bytes of an HTTP/2 request's body that may wait for the app; 65 535 at least."""
    http2_connection_window: int = _MEBI
    """The same for all requests of a connection together."""
    http2_max_resets: int = 100
    """Requests that a client takes back, or gets wrong, within ten seconds, beyond half of those
    that it lets end; more end the connection."""
    http2_max_control_frames: int = 1000
    """Frames that carry nothing (pings, settings, empty data) within ten seconds, beyond what its
    requests explain; more end the connection."""
    http2_max_continuations: int = 16
    """Frames that continue one HTTP/2 request head; more end the connection."""
    ws_max_message: int = 16 * _MEBI
    """Larger WebSocket messages close with 1009."""
    ws_max_frame: int | None = None
    """Larger WebSocket frames, as they travel, close with 1009; None for messages' own limit."""
    ws_max_queue: int = 32
    """Messages that wait for the app before reading pauses."""
    ws_max_write_queue: int = 64 * _MEBI
    """Bytes that wait for a WebSocket client; if the app sends more, its connection is dropped."""
    ws_ping_interval: float | None = 20.0
    """Between two pings to a WebSocket client; None for no pings."""
    ws_ping_timeout: float = 20.0
    """From a ping to any sign of life; then the connection is dropped."""
    ws_close_timeout: float = 10.0
    """From our close frame to the client's; then the connection is dropped."""
    ws_deflate: bool = True
    """Compresses WebSocket messages for clients that offer it (permessage-deflate)."""
    ws_deflate_level: int = 3
    """From 1, fast, to 9, small."""
    ws_deflate_min_size: int = 128
    """Shorter messages are not compressed."""
    ws_deflate_window_bits: int = 12
    """The window of what is sent, as a power of two, 9 to 15: memory for each connection."""
    ws_deflate_context_takeover: bool = True
    """Whether a message may refer to earlier ones: smaller, and keeps memory between messages."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port is {self.port}: it must be from 0 to 65535")
        if self.uds is not None and self.fd is not None:
            raise ConfigError("uds and fd exclude each other: give one")
        if self.workers < 1:
            raise ConfigError(f"workers is {self.workers}: it must be at least 1")
        if not 1 <= self.max_headers <= 256:
            raise ConfigError(f"max_headers is {self.max_headers}: it must be from 1 to 256")
        for name in ("http2_stream_window", "http2_connection_window"):
            if not 65_535 <= getattr(self, name) < 2**31:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}: it must be from 65535 to 2147483647"
                )
        if self.lifespan not in ("auto", "on", "off"):
            raise ConfigError(f"lifespan is {self.lifespan!r}: it must be 'auto', 'on' or 'off'")
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise ConfigError(
                f"root_path is {self.root_path!r}: it begins with a slash and ends without one"
            )
        if not 1 <= self.ws_deflate_level <= 9:
            raise ConfigError(f"ws_deflate_level is {self.ws_deflate_level}: it is from 1 to 9")
        if not 9 <= self.ws_deflate_window_bits <= 15:
            raise ConfigError(
                f"ws_deflate_window_bits is {self.ws_deflate_window_bits}: it is from 9 to 15"
            )
        if self.ws_deflate_min_size < 0:
            raise ConfigError(
                f"ws_deflate_min_size is {self.ws_deflate_min_size}: it must be 0 or more"
            )
        self._check_positive(
            "backlog",
            "max_connections",
            "max_request_line",
            "max_head",
            "max_body",
            "head_timeout",
            "body_timeout",
            "write_timeout",
            "keep_alive",
            "startup_timeout",
            "http2_max_streams",
            "http2_max_resets",
            "http2_max_control_frames",
            "http2_max_continuations",
            "ws_max_message",
            "ws_max_frame",
            "ws_max_queue",
            "ws_max_write_queue",
            "ws_ping_interval",
            "ws_ping_timeout",
            "ws_close_timeout",
        )
        if not self.graceful_timeout >= 0:
            raise ConfigError(f"graceful_timeout is {self.graceful_timeout}: it must be 0 or more")
        for prefix in self.mounts:
            if not prefix.startswith("/") or prefix.endswith("/"):
                raise ConfigError(
                    f"the mount {prefix!r} must begin with a slash and end without one"
                )

    def _check_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{name} is {value}: it must be above 0")
