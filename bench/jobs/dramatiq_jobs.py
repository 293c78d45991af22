"""Dramatiq on Redis: two processes of eight threads."""

from __future__ import annotations

import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from redis import Redis

from bench.jobs.queue import redis_url, timed

broker = RedisBroker(url=redis_url())
broker.add_middleware(Results(backend=RedisBackend(url=redis_url()), store_results=True))
dramatiq.set_broker(broker)


@dramatiq.actor
def noop(number: int) -> int:
    """Nothing."""
    return number


class Queue:
    """See `JobQueue`."""

    def __init__(self) -> None:
        self.redis = Redis.from_url(redis_url())

    def enqueue(self, count: int) -> float:
        """`actor.send(...)`."""
        return timed(lambda: [noop.send(number) for number in range(count)])

    def enqueue_concurrently(self, count: int) -> float | None:
        """Dramatiq's calls are not awaited."""
        return None

    def enqueue_many(self, count: int) -> float | None:
        """Dramatiq sends one at a time."""
        return None

    def left(self) -> int:
        """Messages that are not acknowledged, which comes after the result."""
        return int(self.redis.hlen("dramatiq:default.msgs"))

    def worker(self) -> list[str]:
        """Two processes."""
        return [
            *(sys.executable, "-m", "dramatiq", "bench.jobs.dramatiq_jobs"),
            *("--processes", "2", "--threads", "8"),
        ]
