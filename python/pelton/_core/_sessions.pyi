"""What a worker and a scheduler hold of a broker. Calls have the two forms of `_broker.pyi`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, final

from ._broker import Broker
from ._jobs import LeasedJob, Outcome, Settled
from ._schedules import ScheduleSpec

@final
class WorkerSession:
    """One worker's leases. A thread of the core renews them every third of `lease` seconds,
    whatever Python does, until their outcome is in; it also keeps the worker's heartbeat.

    `on_cancel(ids)` is called from that thread, with the GIL, when running jobs should be
    cancelled; `on_lost(ids)` when their leases were lost (the process slept, say): their outcomes
    will be stale, so stop them; `on_order(orders)` for what `Broker.order_workers` was given.
    """

    def __new__(
        cls,
        broker: Broker,
        *,
        name: str,
        queues: Sequence[str],  # empty: all
        skip: Sequence[str] = ...,  # queues that it leaves to others, even so
        concurrency: int,
        lease: float = 15.0,
        on_cancel: Callable[[list[str]], None],
        on_lost: Callable[[list[str]], None],
        on_order: Callable[[list[bytes]], None] | None = None,
    ) -> WorkerSession: ...
    def lease(
        self, limit: int, wait: float, *, waiter: asyncio.Future[Any] | None = None
    ) -> list[LeasedJob] | None:
        """Up to `limit` due jobs; an empty list after `wait` seconds without one. It wakes for
        new jobs of this process at once and for those of others within 10 ms. Expired leases of
        dead workers are taken over here."""
    def finish(
        self, outcomes: Sequence[Outcome], *, waiter: asyncio.Future[Any] | None = None
    ) -> list[Settled] | None:
        """One write for all: states, results, successors, next attempts."""
    def progress(self, job: LeasedJob, fraction: float, message: str | None = None) -> None:
        """Returns at once; only the newest is written, at most 20 times a second."""
    def steps(
        self, job: LeasedJob, *, waiter: asyncio.Future[Any] | None = None
    ) -> dict[str, bytes] | None:
        """The results of the steps that the job has finished, by name."""
    def save_step(
        self,
        job: LeasedJob,
        step: str,
        value: bytes,
        *,
        waiter: asyncio.Future[Any] | None = None,
    ) -> bool | None:
        """Keeps a step's result for later attempts; False where the lease is lost."""
    def take_signal(
        self,
        job: LeasedJob,
        signal: str,
        step: str,
        *,
        waiter: asyncio.Future[Any] | None = None,
    ) -> bytes | None:
        """Makes the oldest signal of this name the result of a step, and gives it; None where none
        came. The step's own result where it has one."""
    def report(self, report: bytes) -> None:
        """What `WorkerRecord.report` says of this worker, from its next sign of life."""
    def close(self) -> None:
        """Ends the heartbeat, removes the worker; leases still held expire by themselves."""

@final
class SchedulerSession:
    """Fires schedules while it is the leader among all schedulers of the broker."""

    def __new__(
        cls, broker: Broker, *, name: str, schedules: Sequence[ScheduleSpec], owner: str = ...
    ) -> SchedulerSession:
        """Writes the schedules as those of `owner` (an application), whose others are removed.

        Schedules are stored with their templates: whoever leads fires those of all owners."""
    def step(
        self, *, waiter: asyncio.Future[Any] | None = None
    ) -> tuple[bool, list[tuple[str, str]], list[str], float] | None:
        """(whether it leads, the (schedule, job id) fired now, the schedules that are due but
        cannot be read here, seconds to sleep at most). A tick fires once, whatever number of
        schedulers run and whenever they are killed."""
    def close(self) -> None:
        """Gives up the lead."""
