"""Pelton, on the store that the environment names: one worker process."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import pelton
from bench.jobs.queue import batches, concurrently, pelton_url, timed_async
from pelton.jobs import Jobs

jobs = Jobs(pelton_url())

ENDED = {"succeeded", "dead", "cancelled"}


@jobs.task
async def noop(number: int) -> int:
    """Nothing."""
    return number


@jobs.task
async def waited(sent_at: float) -> float:
    """How long it took to start, by the machine's clock."""
    return time.time() - sent_at


class Queue:
    """See `JobQueue`."""

    def enqueue(self, count: int) -> float:
        """`await task.enqueue(...)`, one at a time."""

        async def one_at_a_time() -> None:
            for number in range(count):
                await noop.enqueue(number)

        return pelton.run(opened(one_at_a_time))

    def enqueue_concurrently(self, count: int) -> float | None:
        """`await task.enqueue(...)`, in many coroutines."""

        async def connected() -> float:
            async with jobs:
                return await concurrently(noop.enqueue, count)

        return pelton.run(connected())

    def enqueue_many(self, count: int) -> float | None:
        """`await task.enqueue_many(...)`."""

        async def in_batches() -> None:
            for batch in batches(count):
                await noop.enqueue_many([(number,) for number in batch])

        return pelton.run(opened(in_batches))

    def left(self) -> int:
        """From the broker's counts."""
        records = jobs.broker.queues() or []
        return sum(
            count
            for record in records
            for state, count in record.counts.items()
            if state not in ENDED
        )

    def delay(self, count: int) -> None:
        """Jobs that are due tomorrow."""

        async def in_batches() -> None:
            for batch in batches(count):
                await noop.options(delay=86_400).enqueue_many([(number,) for number in batch])

        pelton.run(opened(in_batches))

    def latency(self, count: int) -> list[float]:
        """Seconds from before the enqueue to the start of each of some jobs, 5 ms apart."""

        async def one_at_a_time() -> list[float]:
            times = []
            async with jobs:
                for _ in range(count):
                    job = await waited.enqueue(time.time())
                    times.append(await job.result(60))
                    await asyncio.sleep(0.005)
            return times

        return pelton.run(one_at_a_time())

    def worker(self) -> list[str]:
        """`pelton worker`."""
        app = "bench.jobs.pelton_jobs:jobs"
        return [sys.executable, "-m", "pelton", "worker", app, "--log-level", "warning"]


async def opened(work: Callable[[], Awaitable[object]]) -> float:
    """The seconds of some work, with the broker open."""
    async with jobs:
        return await timed_async(work)
