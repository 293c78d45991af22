"""The options of a server, with their defaults and limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

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
    uds_mode: str | None = None
    """The Unix socket's permissions in octal, as 660; None leaves them to the umask."""
    fd: int | None = None
    """A listening socket that this process inherited, instead of host and port."""
    bind: tuple[str, ...] = ()
    """Where to listen, instead of host and port, uds or fd, and in several places: `host:port`,
    `[::1]:port`, `unix:/path` or `fd:3`."""
    backlog: int = 2048
    """Connections that the kernel keeps until they are accepted."""
    reuse_port: bool = False
    """Each worker gets a TCP socket of its own, and the kernel shares out new connections."""
    workers: int = 1
    """Processes that serve. With more than one, APP is an import string."""
    interface: Literal["auto", "asgi", "wsgi"] = "auto"
    """What APP is. `auto` tells a WSGI application by its two arguments."""
    wsgi_threads: int = 16
    """Threads for the calls of a WSGI application, in each worker."""
    root_path: str = ""
    """The prefix under which a proxy serves the app, as ASGI's `root_path`."""
    lifespan: Literal["auto", "on", "off"] = "auto"
    """`on`: an app without lifespan is an error. `auto`: it is not."""
    access_log: bool = False
    """Log one line a request."""
    access_log_format: str = "text"
    """`text`, `combined`, `json`, or a template as `{client} {status} {header:user-agent}`."""
    access_log_file: str | None = None
    """Where access log lines go: a file, which SIGUSR1 opens anew, or `-` for stdout; None for the
    logger `pelton.access`."""
    server_header: str | None = "pelton"
    """The `server` header; None for none."""
    ssl_certfile: tuple[str, ...] = ()
    """PEM files with the server's certificate and those that sign it: TLS is on. Of several, each
    client gets the one for the name that it asks for, by default the first."""
    ssl_keyfile: tuple[str, ...] = ()
    """PEM files with the keys, in the order of the certificates; by default in the same files."""
    ssl_keyfile_password: str | None = dataclasses.field(default=None, repr=False)
    """The password of keys that are encrypted, in PKCS #8's way. Other users of the machine can
    read flags: better give the variable."""
    ssl_ca_certs: str | None = None
    """A PEM file with the authorities that sign clients' certificates."""
    ssl_client_certs: Literal["off", "optional", "required"] = "off"
    """Whether clients show certificates; one that does not verify ends the handshake."""
    ssl_min_version: Literal["1.2", "1.3"] = "1.2"
    """The oldest version of TLS."""
    ssl_ticket_key_file: str | None = None
    """A file of 32 random bytes or more that all servers of a name share, so that clients resume at
    any of them; None for one that only this server's workers share."""
    ssl_reload_interval: float | None = 10.0
    """Between two looks whether the TLS files have changed; None leaves that to SIGHUP."""
    handshake_timeout: float = 10.0
    """For a TLS handshake, and for a PROXY header; then the connection is dropped."""
    max_handshakes: int = 1_000
    """Connections of a worker in their handshake; above it new ones are dropped."""
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    """Proxies whose word is taken: addresses, networks, `unix` for those on a Unix socket, `*` for
    everybody."""
    forwarded_headers: Literal["x-forwarded", "forwarded", "off"] = "x-forwarded"
    """The headers in which trusted proxies tell the client's address and scheme."""
    forwarded_host: bool = False
    """Whether the host and port that they tell count, too: for proxies that always set them."""
    proxy_protocol: bool = False
    """Each connection begins with the PROXY protocol, version 1 or 2, and comes from a trusted
    proxy; others are dropped."""
    mounts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """ASGI apps by path prefix (`/_pelton`), answered before the app. They get no lifespan."""
    max_connections: int = 10_000
    """Open connections of a worker; above it each new one is answered 503."""
    max_concurrency: int | None = None
    """Requests under way of a worker; above it each new one is answered 503. None for no limit."""
    max_request_line: int = 8 * _KIBI
    """Longer request lines are answered 414."""
    max_head: int = 64 * _KIBI
    """Larger request heads, or trailers, are answered 431."""
    max_headers: int = 100
    """Requests with more header fields (at most 256) are answered 431."""
    max_body: int | None = 100 * _MEBI
    """Larger request bodies are answered 413; None for no limit."""
    body_buffer: int = 64 * _KIBI
    """Bytes of a request's body that wait for the app before reading pauses."""
    max_drain: int = 64 * _KIBI
    """Bytes of an unread body that are dropped to keep the connection; above it, it is closed."""
    head_timeout: float = 30.0
    """From a request's first byte to the end of its head; then 408."""
    body_timeout: float = 60.0
    """Between two pieces of a body that the app waits for; then 408."""
    write_timeout: float = 60.0
    """For a client that takes nothing of what is ready for it; then its connection is dropped."""
    keep_alive: float = 30.0
    """Between two requests of a connection; then it is closed."""
    keep_alive_requests: int | None = None
    """Requests of one connection, the last of which is answered with `connection: close`; None
    for no limit."""
    linger_timeout: float = 2.0
    """After the last answer of a connection whose client may be sending still, so that it reads the
    answer."""
    graceful_timeout: float = 30.0
    """From SIGTERM or SIGINT until requests under way are given up."""
    max_requests: int | None = None
    """A worker that has served so many is replaced; None for never."""
    max_requests_jitter: int = 0
    """At most so many are added to `max_requests`, at random: not all are replaced at once."""
    max_rss: int | None = None
    """A worker with more resident memory is replaced."""
    max_lifetime: float | None = None
    """A worker of this age is replaced."""
    health_timeout: float | None = 60.0
    """A worker whose loop does not answer for so long is killed, its stacks in the log, and
    replaced; None for never."""
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

    @property
    def needs_supervision(self) -> bool:
        """Whether another process must start workers anew: there is a limit to their life."""
        limits = (self.max_requests, self.max_rss, self.max_lifetime)
        return any(limit is not None for limit in limits)

    def __post_init__(self) -> None:
        _listify(self, "bind", "ssl_certfile", "ssl_keyfile", "trusted_proxies")
        if (self.uds is not None) + (self.fd is not None) + bool(self.bind) > 1:
            raise ConfigError("uds, fd and bind exclude each other: give one")
        if self.uds_mode is not None and not _is_octal(self.uds_mode):
            raise ConfigError(f"uds_mode is {self.uds_mode!r}: it is octal, as '660'")
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise ConfigError(
                f"root_path is {self.root_path!r}: it begins with a slash and ends without one"
            )
        self._check_limits()
        self._check_choices()
        self._check_tls()
        self._check_positive()
        for prefix in self.mounts:
            if not prefix.startswith("/") or prefix.endswith("/"):
                raise ConfigError(
                    f"the mount {prefix!r} must begin with a slash and end without one"
                )

    def _check_limits(self) -> None:
        for name, least, most in (
            ("port", 0, 65_535),
            ("workers", 1, 1024),
            ("max_headers", 1, 256),
            ("http2_stream_window", 65_535, 2**31 - 1),
            ("http2_connection_window", 65_535, 2**31 - 1),
            ("ws_deflate_level", 1, 9),
            ("ws_deflate_window_bits", 9, 15),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"{name} is {value}: it must be from {least} to {most}")
        for name in ("graceful_timeout", "max_requests_jitter", "ws_deflate_min_size"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be 0 or more")

    def _check_choices(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            choices = get_args(kind) if get_origin(kind) is Literal else ()
            value = getattr(self, name)
            if choices and value not in choices:
                raise ConfigError(f"{name} is {value!r}: it must be {_either(choices)}")

    def _check_tls(self) -> None:
        if self.ssl_keyfile and len(self.ssl_keyfile) != len(self.ssl_certfile):
            raise ConfigError(
                f"there are {len(self.ssl_keyfile)} ssl_keyfile for {len(self.ssl_certfile)} "
                "ssl_certfile: give one for each, or none where the keys are in the same files"
            )
        if (self.ssl_client_certs != "off") != (self.ssl_ca_certs is not None):
            raise ConfigError(
                "ssl_ca_certs and ssl_client_certs belong together: the authorities, and whether "
                "clients need their certificates ('optional', 'required')"
            )
        if self.ssl_ca_certs is not None and not self.ssl_certfile:
            raise ConfigError("ssl_ca_certs without ssl_certfile: there is no TLS to use it in")
        if self.proxy_protocol and not self.trusted_proxies:
            raise ConfigError("proxy_protocol without trusted_proxies: nobody could connect")

    def _check_positive(self) -> None:
        """Every number must be above 0, or None where it may be; but those that 0 means something
        for, which are checked above."""
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if name in _MAY_BE_ZERO or not {int, float} & {kind, *get_args(kind)}:
                continue
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{name} is {value}: it must be above 0")


_MAY_BE_ZERO = frozenset(
    {"port", "fd", "workers", "graceful_timeout", "max_requests_jitter", "ws_deflate_min_size"}
)


def _listify(config: Config, *names: str) -> None:
    """Takes one string where several are possible."""
    for name in names:
        value = getattr(config, name)
        # The dataclass is frozen, but not yet made.
        object.__setattr__(config, name, (value,) if isinstance(value, str) else tuple(value))


def _is_octal(text: str) -> bool:
    return 0 < len(text) <= 4 and all(digit in "01234567" for digit in text)


def _either(choices: tuple[str, ...]) -> str:
    *others, last = map(repr, choices)
    return f"{', '.join(others)} or {last}"
