"""streaq on Redis: one process, a hundred jobs at once, uvloop."""

from __future__ import annotations

import asyncio
import sys

from redis import Redis
from streaq import Worker

from bench.jobs.queue import batches, concurrently, redis_url, timed_async

worker = Worker(redis_url=redis_url(), concurrency=100, anyio_kwargs={"use_uvloop": True})


@worker.task
async def noop(number: int) -> int:
    """Nothing."""
    return number


class Queue:
    """See `JobQueue`."""

    def __init__(self) -> None:
        self.redis = Redis.from_url(redis_url())
        self.stream = f"streaq:{worker.queue_name}:queues:normal"

    def enqueue(self, count: int) -> float:
        """`await task.enqueue(...)`."""

        async def connected() -> float:
            async def one_at_a_time() -> None:
                for number in range(count):
                    await noop.enqueue(number)

            async with worker:
                return await timed_async(one_at_a_time)

        return asyncio.run(connected())

    def enqueue_concurrently(self, count: int) -> float | None:
        """`await task.enqueue(...)`, in many coroutines."""

        async def connected() -> float:
            async def one(number: int) -> None:
                await noop.enqueue(number)

            async with worker:
                return await concurrently(one, count)

        return asyncio.run(connected())

    def enqueue_many(self, count: int) -> float | None:
        """`await worker.enqueue_many(...)`."""

        async def connected() -> float:
            async def in_batches() -> None:
                for batch in batches(count):
                    await worker.enqueue_many([noop.enqueue(number) for number in batch])

            async with worker:
                return await timed_async(in_batches)

        return asyncio.run(connected())

    def left(self) -> int:
        """A message stays in the stream until its result is written."""
        return int(self.redis.xlen(self.stream))

    def worker(self) -> list[str]:
        """One process."""
        return [sys.executable, "-m", "streaq", "run", "bench.jobs.streaq_jobs:worker"]
