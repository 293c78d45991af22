"""How many of a task's jobs run at a time, and how often."""

from __future__ import annotations

import math
import re
import threading
import time
from collections import deque
from dataclasses import dataclass

_RATE = re.compile(r"\s*(\d+(?:\.\d*)?)\s*/\s*(s|m|h|d|second|minute|hour|day)\s*")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that holds across all workers of a broker.

    concurrency: jobs at a time. rate: jobs that begin, a second. burst: how many of them at once
    after a rest; one second's worth, and at least 1, without it.
    """

    concurrency: int | None = None
    rate: float | None = None
    burst: float | None = None

    def __post_init__(self) -> None:
        if self.concurrency is None and self.rate is None:
            raise ValueError("a limit has a concurrency, a rate, or both")
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError(f"concurrency={self.concurrency!r} is not 1 or more")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise ValueError(f"rate={self.rate!r} is not above 0")
        if self.burst is not None and (self.rate is None or not 1 <= self.burst < math.inf):
            raise ValueError(f"burst={self.burst!r} is 1 or more, and goes with a rate")


def rate_of(text: str | float) -> tuple[float, float]:
    """`"10/s"`, `"100/m"`, `"5/h"`, or a number a second: (a second, burst)."""
    if isinstance(text, int | float):
        return float(text), max(1.0, float(text))
    match = _RATE.fullmatch(text)
    if match is None or float(match[1]) == 0:
        raise ValueError(f'{text!r} is not a rate such as "10/s", "100/m" or "5/h"')
    number = float(match[1])
    rate = number / _SECONDS[match[2][0]]
    return rate, max(1.0, rate)


def limit_of(concurrency: int | None, rate: str | float | None) -> Limit | None:
    """A limit, where one is given."""
    if concurrency is None and rate is None:
        return None
    per_second, burst = (None, None) if rate is None else rate_of(rate)
    return Limit(concurrency, per_second, burst)


class RetryBudget:
    """So many retries within so many seconds; those beyond are not tried again.

    It keeps a dependency that is down from being asked ever more often. Each process has its own.
    """

    def __init__(self, retries: int, seconds: float) -> None:
        if retries < 1 or not seconds > 0:
            raise ValueError("a retry budget is (retries, seconds), both above 0")
        self._seconds = seconds
        self._times: deque[float] = deque(maxlen=retries)
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Takes one retry; False where none is left."""
        now = time.monotonic()
        with self._lock:
            full = len(self._times) == self._times.maxlen
            if full and now - self._times[0] < self._seconds:
                return False
            self._times.append(now)
            return True
