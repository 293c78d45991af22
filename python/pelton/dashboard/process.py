"""What this process measures of itself: its server's counters, its loop's lag, its memory."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from typing import Any


class ProcessFigures:
    """Reads this process's figures: see `Figures` for what it returns.

    `attach` gives it the loop to watch. It is called from another thread than the loop's, so that
    a blocked loop shows as one: the lag is then how long a callback has been waiting.
    """

    def __init__(self) -> None:
        self._started_at = time.time()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked: float | None = None
        self._lag = 0.0

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watches `loop` from now on."""
        self._loop = loop

    def __call__(self) -> dict[str, Any]:
        """The figures now."""
        from pelton import server

        stats = server.stats()
        return {
            "pid": os.getpid(),
            "started_at": self._started_at,
            "requests": stats["requests"],
            "errors": stats["responses"].get("5xx", 0),
            "connections": stats["connections"],
            "latency": stats["latency"],
            "lag": self._measure_lag(),
            "rss": resident_bytes(),
        }

    def _measure_lag(self) -> float:
        if self._loop is None or self._loop.is_closed():
            return 0.0
        asked = self._asked
        if asked is not None:
            # The callback of the last time has not run yet.
            return time.monotonic() - asked
        self._asked = time.monotonic()
        try:
            self._loop.call_soon_threadsafe(self._look)
        except RuntimeError:
            # It was closed meanwhile.
            self._loop = None
        return self._lag

    def _look(self) -> None:
        """In the loop: its longest turn since the last look, and how long this one had to wait."""
        from pelton.observe import loop_stats

        assert self._asked is not None
        waited = time.monotonic() - self._asked
        self._lag = max(waited, loop_stats().turn_max)
        self._asked = None


def resident_bytes() -> int:
    """Memory in use now; where the system does not tell, the most that was."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
