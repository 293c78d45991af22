"""A process that serves."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import socket
from collections.abc import Callable
from typing import Any

from pelton.server.config import Config, ConfigError
from pelton.server.server import Server

__all__ = ["run", "serve"]


def run(
    app: Any,
    config: Config | None = None,
    *,
    sock: socket.socket | None = None,
    on_started: Callable[[], object] | None = None,
    **options: Any,
) -> None:
    """Serves `app` until SIGTERM or SIGINT, which let requests under way end; the second signal
    does not.

    app: an ASGI 3 application, or `module:attribute`.
    config: the options; `options` are fields of `Config`, and win over it.
    sock: a bound socket, instead of the config's address; it stays the caller's.
    on_started: called in the loop once connections are accepted; with several workers, once they
    are started.

    Raises StartupError where the server cannot start and ConfigError for impossible options.
    """
    config = _config(config, options)
    if config.workers == 1:
        _run_one(app, config, sock, on_started)
        return
    if not isinstance(app, str):
        raise ConfigError("several workers need the app as an import string, 'module:attribute'")
    from pelton.server.supervisor import Supervisor

    Supervisor(app, config, sock=sock, on_started=on_started).run()


async def serve(
    app: Any,
    config: Config | None = None,
    *,
    sock: socket.socket | None = None,
    on_started: Callable[[], object] | None = None,
    **options: Any,
) -> None:
    """Serves `app` in the running loop until the task is cancelled. As `run`, but with no signal
    handlers and one process."""
    socks = () if sock is None else (sock,)
    await Server(app, _config(config, options), socks=socks, on_started=on_started).serve()


def _config(config: Config | None, options: dict[str, Any]) -> Config:
    known = {field.name for field in dataclasses.fields(Config)}
    unknown = sorted(options.keys() - known)
    if unknown:
        raise ConfigError(f"no such option: {', '.join(unknown)}")
    return dataclasses.replace(config or Config(), **options)


def _run_one(
    app: Any,
    config: Config,
    sock: socket.socket | None,
    on_started: Callable[[], object] | None,
) -> None:
    import pelton

    async def main() -> None:
        socks = () if sock is None else (sock,)
        server = Server(app, config, socks=socks, on_started=on_started)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        try:
            await server.serve()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    pelton.run(main())
