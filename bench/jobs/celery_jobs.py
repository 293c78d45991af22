"""Celery on Redis: prefork, two processes."""

from __future__ import annotations

import sys

from celery import Celery
from redis import Redis

from bench.jobs.queue import redis_url, timed

app = Celery("bench", broker=redis_url(), backend=redis_url())
app.conf.update(worker_prefetch_multiplier=64, broker_connection_retry_on_startup=True)


@app.task
def noop(number: int) -> int:
    """Nothing."""
    return number


class Queue:
    """See `JobQueue`."""

    def __init__(self) -> None:
        self.redis = Redis.from_url(redis_url())

    def enqueue(self, count: int) -> float:
        """`task.delay(...)`."""
        return timed(lambda: [noop.delay(number) for number in range(count)])

    def enqueue_concurrently(self, count: int) -> float | None:
        """Celery's calls are not awaited."""
        return None

    def enqueue_many(self, count: int) -> float | None:
        """Celery sends one at a time."""
        return None

    def left(self) -> int:
        """Messages waiting, held or running: the last are those whose result is not written."""
        pipeline = self.redis.pipeline()
        pipeline.llen("celery")
        pipeline.hlen("unacked")
        return sum(pipeline.execute())

    def worker(self) -> list[str]:
        """Two processes."""
        return [
            *(sys.executable, "-m", "celery", "-A", "bench.jobs.celery_jobs", "worker"),
            *("--pool", "prefork", "--concurrency", "2", "--loglevel", "ERROR"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ]
