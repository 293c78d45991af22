"""When a worker process should have a successor."""

from __future__ import annotations

import asyncio
import os
import random

from pelton._supervision import child
from pelton.server.config import Config
from pelton.server.server import Server

__all__ = ["Retirement"]

DEFAULT_TIMEOUT = 60.0
"""The health timeout that the period of looks follows where there is none."""


class Retirement:
    """A worker's limits of requests, memory and age, told to its parent with its signs of life."""

    def __init__(self, config: Config, server: Server) -> None:
        self._server = server
        self._max_lifetime = config.max_lifetime
        self._max_rss = config.max_rss
        self._max_requests = config.max_requests
        self._timeout = config.health_timeout or DEFAULT_TIMEOUT
        if self._max_requests is not None:
            self._max_requests += random.randint(0, config.max_requests_jitter)
        self._began = asyncio.get_running_loop().time()

    def begin(self) -> None:
        """Gives signs of life from now on, in the running loop, if there is a parent."""
        child.beat(self._timeout, self.due)

    def due(self) -> str | None:
        """Why a successor is due; None while it is not."""
        requests = self._server.requests
        if self._max_requests is not None and requests >= self._max_requests:
            return f"it has served {requests} requests"
        age = asyncio.get_running_loop().time() - self._began
        if self._max_lifetime is not None and age >= self._max_lifetime:
            return f"it has run for {age:.0f} s"
        if self._max_rss is not None and (rss := _resident()) >= self._max_rss:
            return f"it has {rss} bytes of resident memory"
        return None


def _resident() -> int:
    """This process's resident memory in bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
