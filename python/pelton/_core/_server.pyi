"""The HTTP server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, final

from starlette.types import Message

from ._forms import BodyFile, FormReader

@final
class HttpServer:
    """An HTTP server in the loop's thread. All calls in that thread, but `stats` from any.

    `event_loop` is a `pelton.Loop`, `config` a `pelton.server.Config`; `state` is what the app's
    lifespan left for its requests: each gets a shallow copy. Raises ValueError or OSError where a
    file that the config names cannot be used.
    """

    def __new__(
        cls, event_loop: asyncio.AbstractEventLoop, app: Any, config: Any, state: dict[str, Any]
    ) -> HttpServer: ...
    def listen(self, fd: int) -> None:
        """Accepts on a listening socket. The descriptor is the server's from now on."""
    def shutdown(self) -> None:
        """Stops accepting; idle connections close now, others after the request under way, and
        WebSockets with code 1012."""
    def abort(self) -> int:
        """Closes all connections at once and cancels their tasks; how many."""
    def _panic_at_next_read(self) -> None:
        """The next connection that reads panics: for the tests of what then happens."""
    def on_idle(self, callback: Callable[[], object]) -> None:
        """Calls `callback` once, when no connection is open and no request's task runs."""
    def reload_tls(self) -> None:
        """Reads the config's TLS files again, for new connections. Raises ValueError, which names
        the file, where one cannot be used; what was in use stays."""
    def reopen_log(self) -> None:
        """Opens the access log's file again. Raises OSError where it cannot."""
    @property
    def connections(self) -> int: ...
    @property
    def requests(self) -> int: ...
    def stats(self) -> dict[str, Any]:
        """The counters: see `pelton.server.stats`."""

@final
class RequestReceive:
    """The ASGI callable `receive` of a request that our server brought."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> Awaitable[Message]:
        """The next message. Takes no arguments."""

    def drain(self, consumer: FormReader | BodyFile) -> Awaitable[bool]:
        """Reads all of the body into `consumer`, instead of calls: whether the body came to its
        end, rather than the client having left."""

def http_stats() -> dict[str, Any]:
    """The counters of a server that has served nothing: zeros to add to."""
