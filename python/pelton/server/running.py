"""A process that serves."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

from pelton.server.config import Config, ConfigError
from pelton.server.server import Server

__all__ = ["handling_signals", "run", "serve"]


def run(
    app: Any,
    config: Config | None = None,
    *,
    sock: socket.socket | None = None,
    on_started: Callable[[], object] | None = None,
    **options: Any,
) -> None:
    """Serves `app` until SIGTERM or SIGINT, which let requests under way end; the second signal
    does not. SIGHUP has the TLS files read again, SIGUSR1 the logs opened again; where there are
    several workers, or limits after which they are replaced, SIGHUP replaces them one by one.

    app: an ASGI 3 application, or `module:attribute`.
    config: the options; `options` are fields of `Config`, and win over it.
    sock: a bound socket, instead of the config's address; it stays the caller's.
    on_started: called in the loop once connections are accepted; with several workers, once they
    are started.

    Raises StartupError where the server cannot start and ConfigError for impossible options.
    """
    config = _config(config, options)
    if config.workers == 1 and not config.needs_supervision:
        _run_one(app, config, sock, on_started)
        return
    if not isinstance(app, str):
        raise ConfigError(
            "several workers, or workers that are replaced, need the app as an import string, "
            "'module:attribute'"
        )
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


@contextlib.contextmanager
def handling_signals(server: Server, stop: Callable[[], object] | None = None) -> Iterator[None]:
    """Lets signals steer a server of the running loop: SIGTERM and SIGINT stop it (or call `stop`),
    SIGHUP has it read its TLS files again, and SIGUSR1 open its logs again."""
    handlers = {
        signal.SIGTERM: stop or server.stop,
        signal.SIGINT: stop or server.stop,
        signal.SIGHUP: server.reload,
        signal.SIGUSR1: server.reopen_logs,
    }
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


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
        with handling_signals(server):
            await server.serve()

    pelton.run(main())
