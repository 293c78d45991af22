"""What a serving process measures of itself, shared with the others of its tree, and its history.

Each web process writes its counters to a file of the tree's directory once a second; whichever
of them shows the dashboard reads all of them. A file that was not renewed for a while belongs to
a process that died, and is left out.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

PERIOD = 1.0
"""Seconds between two measurements."""
HISTORY = 300
"""Points kept: five minutes."""
STALE = 5.0
"""Seconds after which a process that wrote nothing counts as gone."""

logger = logging.getLogger("pelton.dashboard")

Sample = dict[str, Any]


class Figures:
    """Measures this process, publishes that, and keeps the history of all processes together.

    `measure` returns this process's `pid`, `started_at`, `rss` (bytes), `connections` (open now),
    `lag` (the loop's, in seconds), and counters that only grow: `requests`, `errors` (5xx) and
    `latency` (`bounds` in seconds; `counts`, one longer). It is called in a thread of its own, so
    that a blocked loop is seen too.
    """

    def __init__(self, measure: Callable[[], Sample], directory: Path | None) -> None:
        self._measure = measure
        self._directory = directory
        self._stop = threading.Event()
        self._last: dict[int, Sample] = {}
        self.history: deque[Sample] = deque(maxlen=HISTORY)
        self.processes: list[Sample] = []

    def start(self) -> None:
        """Begins to measure, in a daemon thread."""
        threading.Thread(target=self._run, name="pelton-figures", daemon=True).start()

    def stop(self) -> None:
        """Ends measuring."""
        self._stop.set()

    def _run(self) -> None:
        while True:
            try:
                self.step(time.time())
            except Exception:
                logger.exception("cannot measure this process")
            if self._stop.wait(PERIOD):
                return

    def step(self, now: float) -> None:
        """One measurement."""
        own = self._measure() | {"at": now}
        samples = {own["pid"]: own}
        if self._directory is not None:
            _write(self._directory / f"web-{own['pid']}.json", own)
            samples |= _read(self._directory, now)
        if self._last:
            self.history.append(_point(self._last, samples, now))
        self._last = samples
        self.processes = sorted(samples.values(), key=lambda sample: int(sample["pid"]))


def quantile(bounds: list[float], counts: list[int], fraction: float) -> float | None:
    """The value below which `fraction` of a histogram's observations lie, None without any.

    Linear within a bucket; the last bound stands for all that is beyond it.
    """
    total = sum(counts)
    if total == 0:
        return None
    rank = fraction * total
    below = 0.0
    for upper, count in zip(bounds, counts, strict=False):
        if count and below + count >= rank:
            index = bounds.index(upper)
            lower = bounds[index - 1] if index else 0.0
            return lower + (upper - lower) * (rank - below) / count
        below += count
    return bounds[-1]


def _point(before: dict[int, Sample], now: dict[int, Sample], at: float) -> Sample:
    """What happened between two measurements, all processes together, per second."""
    requests = errors = 0.0
    bounds: list[float] = []
    counts: list[int] = []
    for pid, sample in now.items():
        # A process first seen now has counted since its start, which is not this period.
        old = before.get(pid)
        if old is None:
            continue
        seconds = max(sample["at"] - old["at"], 0.001)
        requests += (sample["requests"] - old["requests"]) / seconds
        errors += (sample["errors"] - old["errors"]) / seconds
        grown = [
            new - was
            for new, was in zip(sample["latency"]["counts"], old["latency"]["counts"], strict=True)
        ]
        bounds = sample["latency"]["bounds"]
        counts = [a + b for a, b in zip(counts, grown, strict=True)] if counts else grown
    return {
        "at": at,
        "requests": requests,
        "errors": errors,
        "p50": quantile(bounds, counts, 0.5),
        "p99": quantile(bounds, counts, 0.99),
        "lag": max((sample["lag"] for sample in now.values()), default=0.0),
        "connections": sum(sample["connections"] for sample in now.values()),
    }


def _write(path: Path, sample: Sample) -> None:
    # Into place in one step: a reader never sees half a file.
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(sample))
    fresh.replace(path)


def _read(directory: Path, now: float) -> dict[int, Sample]:
    found: dict[int, Sample] = {}
    for path in directory.glob("web-*.json"):
        with contextlib.suppress(FileNotFoundError):
            sample: Sample = json.loads(path.read_text())
            if now - sample["at"] < STALE:
                found[int(sample["pid"])] = sample
            else:
                path.unlink()
    return found
