"""What the benchmark asks of a job queue, and where it keeps its jobs."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol


class JobQueue(Protocol):
    """A peer. Its task does nothing and returns its argument; results are kept."""

    def enqueue(self, count: int) -> float:
        """Enqueue jobs, each accepted before the next; the seconds it took."""
        ...

    def enqueue_many(self, count: int) -> float | None:
        """Enqueue jobs in batches of `BATCH`; the seconds, or None where the peer cannot."""
        ...

    def left(self) -> int:
        """How many jobs have no result yet."""
        ...

    def worker(self) -> list[str]:
        """The command that runs the jobs, on both cores where the peer can."""
        ...


BATCH = 1000


def redis_url() -> str:
    """The server that the benchmark started."""
    return os.environ["BENCH_REDIS"]


def directory() -> Path:
    """Where a queue on SQLite keeps its database; empty at the start of each repetition."""
    return Path(os.environ["BENCH_DIRECTORY"])


def batches(count: int) -> list[range]:
    """The numbers below `count` in batches."""
    return [range(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]


def timed(work: Callable[[], object]) -> float:
    """The seconds that a function takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


async def timed_async(work: Callable[[], Awaitable[object]]) -> float:
    """The seconds that a coroutine takes."""
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started
