"""saq on Redis: two processes, a hundred jobs at once each."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from redis import Redis
from saq import Queue as SaqQueue

from bench.jobs.queue import concurrently, redis_url, timed_async

queue = SaqQueue.from_url(redis_url())


async def noop(context: dict[str, Any], *, number: int) -> int:
    """Nothing."""
    return number


settings = {"queue": queue, "functions": [noop], "concurrency": 100}
"""What `saq` reads."""


class Queue:
    """See `JobQueue`."""

    def __init__(self) -> None:
        self.redis = Redis.from_url(redis_url())

    def enqueue(self, count: int) -> float:
        """`await queue.enqueue(...)`."""

        async def connected() -> float:
            async def one_at_a_time() -> None:
                for number in range(count):
                    await queue.enqueue("noop", number=number)

            await queue.connect()
            return await timed_async(one_at_a_time)

        return asyncio.run(connected())

    def enqueue_concurrently(self, count: int) -> float | None:
        """`await queue.enqueue(...)`, in many coroutines."""

        async def connected() -> float:
            await queue.connect()
            return await concurrently(lambda number: queue.enqueue("noop", number=number), count)

        return asyncio.run(connected())

    def enqueue_many(self, count: int) -> float | None:
        """saq sends one at a time."""
        return None

    def left(self) -> int:
        """The set of those that have not ended."""
        return int(self.redis.zcard("saq:default:incomplete"))

    def worker(self) -> list[str]:
        """Two processes."""
        return [sys.executable, "-m", "saq", "bench.jobs.saq_jobs.settings", "--workers", "2", "-q"]
