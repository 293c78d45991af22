"""Several worker processes that serve the same sockets."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import socket
import sys
from collections.abc import Callable

from pelton._supervision.part import Part, StartError
from pelton._supervision.supervisor import Supervisor as Tree
from pelton.server import address
from pelton.server.config import Config, ConfigError
from pelton.server.crew import ROLE, Crew
from pelton.server.errors import StartupError
from pelton.server.steering import live, steer

__all__ = ["Supervisor"]

SHUTDOWN_TIME = 4.0
"""Seconds for what a worker does after its requests are over."""


PASSWORD = "PELTON_SSL_KEYFILE_PASSWORD"
"""Where workers find the password of their TLS keys."""


class Supervisor:
    """Keeps `config.workers` processes that serve `app`, an import string.

    They share the listening sockets, so a connection that a dying worker had not accepted goes to
    another one; with `reuse_port` each place in the crew has its own, which its next worker takes
    over. SIGHUP replaces the workers one by one, SIGTTIN adds one and SIGTTOU takes one away,
    SIGUSR1 has them open their logs again. Workers whose supervisor is killed stop by themselves.
    """

    def __init__(
        self,
        app: str,
        config: Config,
        *,
        sock: socket.socket | None = None,
        on_started: Callable[[], object] | None = None,
    ) -> None:
        if config.mounts:
            raise ConfigError("mounts cannot be given to several workers")
        self._app = app
        self._config = config
        self._sock = sock
        self._on_started = on_started
        self._tree = Tree()

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT. Raises StartupError where the workers cannot start."""
        with contextlib.ExitStack() as stack:
            if self._sock is not None:
                sockets = [address.prepare(self._sock, self._config.backlog)]
            else:
                found = address.bind(self._config)
                for listening in found:
                    stack.callback(listening.close)
                sockets = [listening.sock for listening in found]
            crew = Crew(sockets, self._config)
            stack.callback(crew.close)
            try:
                # asyncio's own loop: this process only waits, for children and signals.
                asyncio.run(live(self._tree, lambda: self._start(crew)))
            except StartError as error:
                code = error.code if error.code > 0 else 1
                raise StartupError(
                    f"the workers could not start: {error}", exit_code=code
                ) from error

    async def _start(self, crew: Crew) -> None:
        def part(name: str, fds: tuple[int, ...]) -> Part:
            return self._part(crew, name, fds)

        parts = [part(*crew.join()) for _ in range(self._config.workers)]
        await self._tree.start(*parts)
        steer(self._tree, crew, part)
        if self._on_started is not None:
            self._on_started()

    def _part(self, crew: Crew, name: str, fds: tuple[int, ...]) -> Part:
        settings = dataclasses.asdict(dataclasses.replace(crew.config, mounts={}, workers=1))
        del settings["mounts"]
        # Every user of the machine can read arguments: it goes by the environment.
        password = settings.pop("ssl_keyfile_password")
        if password is not None:
            os.environ[PASSWORD] = password
        order = {
            "app": self._app,
            "config": settings,
            "fds": fds,
            "log_level": logging.getLogger().getEffectiveLevel(),
        }
        return Part(
            name,
            (sys.executable, "-m", "pelton.server.worker", json.dumps(order)),
            # The worker's own limit, and its lifespan's shutdown.
            self._config.graceful_timeout + SHUTDOWN_TIME,
            (*fds, *crew.shared),
            health_timeout=self._config.health_timeout,
            role=ROLE,
        )
