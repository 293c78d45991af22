"""ARQ on Redis: one process, a hundred jobs at once."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, ClassVar

from arq import create_pool
from arq.connections import RedisSettings
from redis import Redis

from bench.jobs.queue import concurrently, redis_url, timed_async

SETTINGS = RedisSettings.from_dsn(redis_url())


async def noop(context: dict[str, Any], number: int) -> int:
    """Nothing."""
    return number


class WorkerSettings:
    """What `arq` reads."""

    functions: ClassVar = [noop]
    redis_settings = SETTINGS
    max_jobs = 100
    poll_delay = 0.01


class Queue:
    """See `JobQueue`."""

    def __init__(self) -> None:
        self.redis = Redis.from_url(redis_url())

    def enqueue(self, count: int) -> float:
        """`await pool.enqueue_job(...)`."""

        async def connected() -> float:
            pool = await create_pool(SETTINGS)

            async def one_at_a_time() -> None:
                for number in range(count):
                    await pool.enqueue_job("noop", number)

            return await timed_async(one_at_a_time)

        return asyncio.run(connected())

    def enqueue_concurrently(self, count: int) -> float | None:
        """`await pool.enqueue_job(...)`, in many coroutines."""

        async def connected() -> float:
            pool = await create_pool(SETTINGS)
            return await concurrently(lambda number: pool.enqueue_job("noop", number), count)

        return asyncio.run(connected())

    def enqueue_many(self, count: int) -> float | None:
        """ARQ sends one at a time."""
        return None

    def left(self) -> int:
        """The queue keeps a job until its result is written."""
        return int(self.redis.zcard("arq:queue"))

    def worker(self) -> list[str]:
        """One process; ARQ has no other way."""
        return [sys.executable, "-m", "arq", "bench.jobs.arq_jobs.WorkerSettings"]
