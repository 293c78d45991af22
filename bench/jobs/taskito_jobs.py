"""taskito on SQLite: one worker process with threads."""

from __future__ import annotations

import sys

import taskito

from bench.jobs.queue import batches, directory, timed

queue = taskito.Queue(
    db_path=str(directory() / "taskito.db"), scheduler_batch_size=100, scheduler_poll_interval_ms=5
)


@queue.task()
def noop(number: int) -> int:
    """Nothing."""
    return number


class Queue:
    """See `JobQueue`."""

    def enqueue(self, count: int) -> float:
        """`task.delay(...)`."""
        return timed(lambda: [noop.delay(number) for number in range(count)])

    def enqueue_concurrently(self, count: int) -> float | None:
        """taskito's calls are not awaited."""
        return None

    def enqueue_many(self, count: int) -> float | None:
        """`queue.enqueue_many(...)`."""
        return timed(
            lambda: [
                queue.enqueue_many(noop.name, [(number,) for number in batch])
                for batch in batches(count)
            ]
        )

    def left(self) -> int:
        """From its statistics."""
        counts = queue.stats()
        return int(counts["pending"]) + int(counts["running"])

    def worker(self) -> list[str]:
        """`taskito worker`."""
        return [
            sys.executable,
            "-m",
            "taskito.cli",
            "worker",
            "--app",
            "bench.jobs.taskito_jobs:queue",
        ]
