"""The broker of jobs, and what it tells of itself.

Every operation has two forms in one method: with `waiter` (a future of a running asyncio loop)
it returns None at once and the future gets the value or the exception from the broker's thread,
many futures of a loop by one wakeup; with `waiter=None` it blocks, with the GIL released, and
returns the value. Times are seconds since the epoch, durations are seconds, both float.
Payloads, results and errors are UTF-8 JSON in bytes; the core never looks inside a payload.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, final

from ._jobs import AttemptRecord, Edge, JobRecord, NewJob, State
from ._schedules import ScheduleRecord, ScheduleSpec

class BrokerError(Exception):
    """The broker could not do it: unreachable, broken, full, read-only, or of a newer schema."""

@final
class LimitRecord:
    """A limit that holds across all workers."""

    scope: str  # "queue:NAME", "task:NAME", or "key:TASK": of each of its keys
    concurrency: int | None
    rate: float | None  # a second
    burst: float | None
    declared: bool  # by a task's decorator, and not by `set_limit`

@final
class QueueRecord:
    name: str
    paused: bool
    counts: dict[State, int]
    oldest_queued_at: float | None

@final
class WorkerRecord:
    name: str
    hostname: str
    pid: int
    queues: list[str]
    concurrency: int
    started_at: float
    seen_at: float
    running: int
    processed: int
    failed: int
    report: bytes | None  # what the worker says of itself

@final
class Broker:
    """A broker of jobs, shared by all threads of the process.

    url: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`. Opening creates and migrates.
    `?synchronous=normal` makes writes faster: they survive the death of any process, but a power
    cut may take the last moments. While it is open, this process must not open the same file with
    Python's `sqlite3`, which is another copy of SQLite: they would not see each other's locks.
    """

    def __new__(cls, url: str) -> Broker: ...
    url: str
    def close(self) -> None:
        """Waits for writes under way; later calls raise BrokerError."""
    def enqueue(
        self,
        jobs: Sequence[NewJob],
        edges: Sequence[Edge] = ...,
        *,
        waiter: asyncio.Future[list[str]] | None = None,
    ) -> list[str] | None:
        """Durable when done; all or nothing. The ids, where a job with the same key was unfinished
        that job's id instead."""
    def get(self, id: str, *, waiter: asyncio.Future[Any] | None = None) -> JobRecord | None: ...
    def watch(
        self, id: str, version: int, wait: float, *, waiter: asyncio.Future[Any] | None = None
    ) -> JobRecord | None:
        """The record once its version is above `version`; None after `wait` seconds, or where
        there is no such job."""
    def list_jobs(
        self,
        *,
        state: str | None = None,
        queue: str | None = None,
        task: str | None = None,
        group: str | None = None,
        limit: int = 50,
        before: str | None = None,  # an id: only older ones
        waiter: asyncio.Future[Any] | None = None,
    ) -> list[JobRecord] | None:
        """Newest first."""
    def cancel(
        self, id: str, reason: str = ..., *, waiter: asyncio.Future[Any] | None = None
    ) -> bool | None:
        """Queued, scheduled and waiting jobs end at once, and so do those that wait for them;
        a running one gets `cancel_requested`. False: ended already, or unknown."""
    def retry(self, id: str, *, waiter: asyncio.Future[Any] | None = None) -> bool | None:
        """A dead or cancelled job is queued again, with all its retries."""
    def delete(self, id: str, *, waiter: asyncio.Future[Any] | None = None) -> bool | None:
        """Only ended jobs."""
    def set_paused(
        self, queue: str, paused: bool, *, waiter: asyncio.Future[Any] | None = None
    ) -> None:
        """Workers lease nothing from a paused queue."""
    def queues(self, *, waiter: asyncio.Future[Any] | None = None) -> list[QueueRecord] | None: ...
    def workers(self, *, waiter: asyncio.Future[Any] | None = None) -> list[WorkerRecord] | None:
        """Those seen in the last two minutes."""
    def schedules(
        self, *, waiter: asyncio.Future[Any] | None = None
    ) -> list[ScheduleRecord] | None: ...
    def signal(
        self, id: str, name: str, value: bytes, *, waiter: asyncio.Future[Any] | None = None
    ) -> bool | None:
        """Sends a signal to a job; False: it has ended, or is unknown."""
    def history(
        self, id: str, *, waiter: asyncio.Future[Any] | None = None
    ) -> list[AttemptRecord] | None:
        """The attempts of a job that did not succeed, oldest first; the newest 50."""
    def group_counts(
        self, group: str, *, waiter: asyncio.Future[Any] | None = None
    ) -> dict[State, int] | None:
        """How many jobs of a workflow are in each state."""
    def cancel_group(
        self, group: str, reason: str = ..., *, waiter: asyncio.Future[Any] | None = None
    ) -> int | None:
        """Cancels all jobs of a workflow that have not ended. How many."""
    def purge_queue(
        self, queue: str, limit: int = 1000, *, waiter: asyncio.Future[Any] | None = None
    ) -> int | None:
        """Cancels up to `limit` jobs of a queue that are not running. How many."""
    def set_limit(
        self,
        scope: str,
        *,
        concurrency: int | None = None,
        rate: float | None = None,
        burst: float | None = None,
        waiter: asyncio.Future[Any] | None = None,
    ) -> None:
        """Sets a limit for all workers, or removes it where neither is given."""
    def declare_limit(
        self,
        scope: str,
        *,
        concurrency: int | None = None,
        rate: float | None = None,
        burst: float | None = None,
        waiter: asyncio.Future[Any] | None = None,
    ) -> None:
        """As `set_limit`, for what a task declares: it gives way to what `set_limit` set."""
    def limits(self, *, waiter: asyncio.Future[Any] | None = None) -> list[LimitRecord] | None:
        """All limits, by scope."""
    def acquire(
        self,
        bucket: str,
        rate: float,
        burst: float | None = None,
        cost: float = 1.0,
        *,
        waiter: asyncio.Future[Any] | None = None,
    ) -> float | None:
        """Takes from a bucket that all programs share: None, or the seconds to wait before the
        next try."""
    def put_schedule(
        self, schedule: ScheduleSpec, *, waiter: asyncio.Future[Any] | None = None
    ) -> None:
        """Adds or changes a schedule that no program declares."""
    def remove_schedule(
        self, name: str, *, waiter: asyncio.Future[Any] | None = None
    ) -> bool | None:
        """False: there is none of this name."""
    def pause_schedule(
        self, name: str, paused: bool, *, waiter: asyncio.Future[Any] | None = None
    ) -> bool | None:
        """False: there is none of this name."""
    def run_schedule(self, name: str, *, waiter: asyncio.Future[Any] | None = None) -> str | None:
        """Enqueues a schedule's job now; its id, or None where there is no such schedule."""
    def order_workers(
        self, name: str | None, order: bytes, *, waiter: asyncio.Future[Any] | None = None
    ) -> int | None:
        """Orders something of the workers of this name, or of all. How many were told."""
