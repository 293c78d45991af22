"""A server in the running loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from pelton import _core
from pelton.server import address
from pelton.server.certificates import CertificateWatch
from pelton.server.config import Config
from pelton.server.errors import StartupError
from pelton.server.interface import adapt
from pelton.server.lifespan import Lifespan
from pelton.server.target import resolve

__all__ = ["Server", "stats"]

logger = logging.getLogger("pelton.server")

_cores: weakref.WeakSet[_core.HttpServer] = weakref.WeakSet()


class Server:
    """Serves one app in the running loop, which must be Pelton's.

    `socks`: bound sockets to use instead of the config's address; they stay the caller's,
    and while they are open the kernel goes on queueing connections.
    `on_started` is called in the loop once connections are accepted.
    """

    def __init__(
        self,
        app: Any,
        config: Config | None = None,
        *,
        socks: Sequence[socket.socket] = (),
        on_started: Callable[[], object] | None = None,
    ) -> None:
        self.config = config or Config()
        self._app = app
        self._socks = socks
        self._on_started = on_started
        self._core: _core.HttpServer | None = None
        self._stop = asyncio.Event()
        self._force = asyncio.Event()
        self.addresses: list[str] = []
        """Where it listens, once it does: `http://127.0.0.1:8000`."""

    def stop(self) -> None:
        """Ends `serve` gracefully; called again, at once. Call it in the loop's thread."""
        if self._stop.is_set():
            self._force.set()
        self._stop.set()

    def reload(self) -> None:
        """Reads the TLS files again, for new connections; those that are open go on as they are. If
        they cannot be used that is logged, and what was in use stays. In the loop's thread."""
        if self._core is None or not self.config.ssl_certfile:
            return
        try:
            self._core.reload_tls()
        except ValueError as error:
            logger.error("the TLS files were not taken: %s", error)
        else:
            logger.info("the TLS files were read again")

    def reopen_logs(self) -> None:
        """Opens the access log's file again, after it was moved away. In the loop's thread."""
        if self._core is None:
            return
        try:
            self._core.reopen_log()
        except OSError as error:
            logger.error("%s", error)

    @property
    def requests(self) -> int:
        """How many requests and WebSockets it was asked for."""
        return 0 if self._core is None else self._core.requests

    async def serve(self) -> None:
        """Serves until `stop` is called or the task is cancelled.

        Requests under way get `graceful_timeout` seconds, then their connections are closed and
        their tasks cancelled. Cancelling does not wait for them. Raises StartupError where the
        server cannot start.
        """
        app = adapt(resolve(self._app), self.config)
        lifespan = Lifespan(app, self.config.lifespan)
        with contextlib.ExitStack() as stack:
            sockets = self._open(stack)
            await lifespan.startup(self.config.startup_timeout)
            try:
                await self._serve(app, lifespan.state, sockets)
            finally:
                await lifespan.shutdown()

    def _open(self, stack: contextlib.ExitStack) -> list[socket.socket]:
        if self._socks:
            return [address.prepare(sock, self.config.backlog) for sock in self._socks]
        found = address.bind(self.config)
        for listening in found:
            stack.callback(listening.close)
        return [listening.sock for listening in found]

    async def _serve(self, app: Any, state: dict[str, Any], sockets: list[socket.socket]) -> None:
        try:
            core = _core.HttpServer(asyncio.get_running_loop(), app, self.config, state)
        except (OSError, ValueError) as error:
            # A certificate, a key, a log file, a format: the message names it.
            raise StartupError(str(error), exit_code=2) from error
        self._core = core
        _cores.add(core)
        secure = bool(self.config.ssl_certfile)
        watch = CertificateWatch(self.config, self.reload) if secure else None
        try:
            self.addresses = [address.display(sock, secure=secure) for sock in sockets]
            for sock in sockets:
                # The core closes its own descriptor when it stops accepting.
                core.listen(os.dup(sock.fileno()))
            logger.info("listening on %s", ", ".join(self.addresses))
            if self._on_started is not None:
                self._on_started()
            await self._stop.wait()
            logger.info("stopping")
            for sock in sockets:
                if not self._socks:
                    # While a descriptor of it is open, the kernel goes on queueing connections.
                    sock.close()
            await self._drain(core)
        finally:
            if watch is not None:
                watch.stop()
            core.abort()
            self._core = None

    async def _drain(self, core: _core.HttpServer) -> None:
        """Lets what is under way end, and ends it when its time is over."""
        core.shutdown()
        idle = asyncio.Event()
        core.on_idle(idle.set)
        if await _first(idle, self._force, self.config.graceful_timeout) is not idle:
            cancelled = core.abort()
            logger.warning("gave up %d requests that were under way", cancelled)
            # Their tasks are cancelled: they get a moment to clean up.
            await _first(idle, self._force, 1.0)


async def _first(one: asyncio.Event, other: asyncio.Event, limit: float) -> asyncio.Event | None:
    """The event that is set first; None if neither is within `limit` seconds."""
    tasks = {asyncio.create_task(event.wait()): event for event in (one, other)}
    done, pending = await asyncio.wait(tasks, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return one if one.is_set() else tasks[done.pop()] if done else None


def stats() -> dict[str, Any]:
    """The counters of this process's servers, summed. Cheap; callable from any thread.

    Counts since the start: `requests`, `websockets`, `accepted` and `rejected` connections,
    `refused` requests (malformed, too large, too slow), `failed` (an exception of the app),
    `disconnected` (the client left before its answer), `bytes_in`, `bytes_out`, `responses` by
    class (`{"2xx": 1, …}`). Now: `connections`, `in_flight`, `open_websockets`. `latency`:
    `bounds` in seconds, `counts` (one more than bounds), `sum` in seconds.
    """
    total = _core.http_stats()
    for core in list(_cores):
        _add(total, core.stats())
    return total


def _add(total: dict[str, Any], part: dict[str, Any]) -> None:
    for name, value in part.items():
        if name == "bounds":
            continue
        if isinstance(value, dict):
            _add(total[name], value)
        elif isinstance(value, list):
            total[name] = [one + other for one, other in zip(total[name], value, strict=True)]
        else:
            total[name] += value
