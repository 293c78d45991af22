"""taskiq on Redis: two processes, a hundred jobs at once each, uvloop."""

from __future__ import annotations

import asyncio
import sys

from redis import Redis
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from bench.jobs.queue import concurrently, redis_url, timed_async

broker = ListQueueBroker(redis_url()).with_result_backend(RedisAsyncResultBackend(redis_url()))


@broker.task
async def noop(number: int) -> int:
    """Nothing."""
    return number


class Queue:
    """See `JobQueue`."""

    def __init__(self) -> None:
        self.redis = Redis.from_url(redis_url())
        self.enqueued = 0

    def enqueue(self, count: int) -> float:
        """`await task.kiq(...)`."""

        async def connected() -> float:
            await broker.startup()

            async def one_at_a_time() -> None:
                for number in range(count):
                    await noop.kiq(number)

            seconds = await timed_async(one_at_a_time)
            await broker.shutdown()
            return seconds

        return asyncio.run(connected())

    def enqueue_concurrently(self, count: int) -> float | None:
        """`await task.kiq(...)`, in many coroutines."""

        async def connected() -> float:
            await broker.startup()
            seconds = await concurrently(noop.kiq, count)
            await broker.shutdown()
            return seconds

        return asyncio.run(connected())

    def enqueue_many(self, count: int) -> float | None:
        """taskiq sends one at a time."""
        return None

    def left(self) -> int:
        """The list is empty before the last results are there; each of those is a key."""
        waiting = int(self.redis.llen("taskiq"))
        results = int(self.redis.dbsize()) - bool(waiting)
        self.enqueued = max(self.enqueued, waiting + results)
        return self.enqueued - results

    def worker(self) -> list[str]:
        """Two processes."""
        return [
            *(sys.executable, "-m", "taskiq", "worker", "bench.jobs.taskiq_jobs:broker"),
            *("--workers", "2", "--max-async-tasks", "100", "--log-level", "ERROR"),
        ]
