"""What the benchmark asks of a job queue, and where it keeps its jobs."""

from __future__ import annotations

import asyncio
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

    def enqueue_concurrently(self, count: int) -> float | None:
        """Enqueue jobs from `CALLERS` coroutines; the seconds, or None where the peer cannot."""
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
CALLERS = 100


def redis_url() -> str:
    """The server that the benchmark started."""
    return os.environ["BENCH_REDIS"]


def pelton_url() -> str:
    """Where Pelton keeps its jobs this time."""
    return os.environ.get("BENCH_PELTON") or f"sqlite:///{directory()}/pelton.db"


async def concurrently(enqueue: Callable[[int], Awaitable[object]], count: int) -> float:
    """The seconds that `CALLERS` coroutines take, each of which awaits one call after another."""

    async def caller(numbers: range) -> None:
        for number in numbers:
            await enqueue(number)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for first in range(CALLERS):
            group.create_task(caller(range(first, count, CALLERS)))
    return time.perf_counter() - started


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
