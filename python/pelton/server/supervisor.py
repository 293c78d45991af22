"""Several worker processes on one socket."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable

from pelton.server import address
from pelton.server.config import Config, ConfigError
from pelton.server.errors import StartupError

__all__ = ["Supervisor"]

logger = logging.getLogger("pelton.server")

RESPAWN_DELAY = 0.5
"""Seconds before a worker that died is replaced."""
GIVE_UP_CODES = frozenset({1, 2, 3})
"""Exit codes of a worker that could not start: another one could not either."""


class Supervisor:
    """Keeps `config.workers` processes that serve `app`, an import string.

    They share the listening socket, so a connection that a dying worker had not accepted goes to
    another one. A worker that dies is replaced; one that cannot start ends all of them. Workers
    whose supervisor is killed see that and stop by themselves.
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
        self._processes: set[asyncio.subprocess.Process] = set()
        self._stopping = asyncio.Event()
        self._failure: int | None = None

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT. Raises StartupError where the workers cannot start."""
        with contextlib.ExitStack() as stack:
            if self._sock is not None:
                sockets = [address.prepare(self._sock, self._config.backlog)]
            else:
                sockets = address.bind(self._config)
                for sock in sockets:
                    stack.callback(sock.close)
                if self._config.uds is not None:
                    stack.callback(os.unlink, self._config.uds)
            # When this process ends, however it does, the write end closes and workers notice.
            lifeline, held = os.pipe()
            stack.callback(os.close, lifeline)
            stack.callback(os.close, held)
            asyncio.run(self._supervise([sock.fileno() for sock in sockets], lifeline))
        if self._failure is not None:
            raise StartupError("the workers could not start", exit_code=self._failure)

    async def _supervise(self, fds: list[int], lifeline: int) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._config.workers):
                group.create_task(self._keep_worker(fds, lifeline))
            if self._on_started is not None:
                self._on_started()

    def _signalled(self) -> None:
        """Passes the wish to stop on; a worker takes the second one as an order."""
        self._stopping.set()
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)

    async def _keep_worker(self, fds: list[int], lifeline: int) -> None:
        while not self._stopping.is_set():
            process = await self._start(fds, lifeline)
            self._processes.add(process)
            if self._stopping.is_set():
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
            code = await process.wait()
            self._processes.discard(process)
            if self._stopping.is_set():
                return
            if code in GIVE_UP_CODES:
                self._failure = code
                self._signalled()
                return
            logger.warning("worker %d ended with code %d, and is replaced", process.pid, code)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), RESPAWN_DELAY)

    async def _start(self, fds: list[int], lifeline: int) -> asyncio.subprocess.Process:
        settings = dataclasses.asdict(dataclasses.replace(self._config, mounts={}, workers=1))
        del settings["mounts"]
        order = json.dumps(
            {
                "app": self._app,
                "config": settings,
                "fds": fds,
                "lifeline": lifeline,
                "log_level": logging.getLogger().getEffectiveLevel(),
            }
        )
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pelton.server.worker",
            order,
            pass_fds=(*fds, lifeline),
            # Ctrl-C goes to the whole group; the supervisor alone decides what it means.
            process_group=0,
        )
