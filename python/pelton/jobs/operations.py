"""What a program asks of its broker besides enqueueing: limits, schedules, many jobs at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pelton._core import (
    AttemptRecord,
    Broker,
    JobRecord,
    LimitRecord,
    QueueRecord,
    ScheduleRecord,
    WorkerRecord,
)
from pelton.jobs.errors import JobNotFound
from pelton.jobs.events import Events, JobEvent, Listener
from pelton.jobs.limits import limit_of, rate_of
from pelton.jobs.options import Options, Seconds, seconds
from pelton.jobs.orders import order
from pelton.jobs.schedule import Schedule

if TYPE_CHECKING:
    from pelton.jobs.task import Task

CATCH_UP_MAX = 1000
"""Missed ticks that `catch_up="all"` makes up for."""

_PURGE_BATCH = 1000


class Operations:
    """The part of `Jobs` that operators and dashboards use."""

    def __init__(self) -> None:
        self.is_heard = False  # whether anybody ever listened to events
        self._events = Events()

    @property
    def broker(self) -> Broker:
        """The core's broker."""
        raise NotImplementedError

    async def call(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Awaits a broker operation on the running loop."""
        waiter = asyncio.get_running_loop().create_future()
        operation(*args, waiter=waiter, **kwargs)
        return await waiter

    # --- jobs

    async def record(self, id: str) -> JobRecord:
        """What the broker knows of a job; JobNotFound."""
        record: JobRecord | None = await self.call(self.broker.get, id)
        if record is None:
            raise JobNotFound(id)
        return record

    async def records(
        self,
        *,
        state: str | None = None,
        queue: str | None = None,
        task: str | None = None,
        group: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[JobRecord]:
        """Jobs, newest first; `before` an id: only older ones."""
        found: list[JobRecord] = await self.call(
            self.broker.list_jobs,
            state=state,
            queue=queue,
            task=task,
            group=group,
            limit=limit,
            before=before,
        )
        return found

    async def watch(self, id: str, version: int, wait: float) -> JobRecord | None:
        """A job's record once its version is above `version`, or None after `wait` seconds."""
        record: JobRecord | None = await self.call(self.broker.watch, id, version, wait)
        return record

    async def history(self, id: str) -> list[AttemptRecord]:
        """The attempts of a job that did not succeed, oldest first: see `AttemptRecord`."""
        found: list[AttemptRecord] = await self.call(self.broker.history, id)
        return found

    async def cancel(self, id: str, reason: str = "") -> bool:
        """Cancels a job: see `Job.cancel`."""
        return bool(await self.call(self.broker.cancel, id, reason))

    async def retry(self, id: str) -> bool:
        """Queues a dead or cancelled job again, with all its retries; False: it is neither.

        Its finished steps are kept: it goes on with the one that failed.
        """
        return bool(await self.call(self.broker.retry, id))

    async def retry_dead(
        self, *, queue: str | None = None, task: str | None = None, limit: int = 1000
    ) -> int:
        """Queues up to `limit` dead jobs again, oldest of the newest `limit` first. How many."""
        dead = await self.records(state="dead", queue=queue, task=task, limit=limit)
        return sum([await self.retry(record.id) for record in reversed(dead)])

    async def delete(self, id: str) -> bool:
        """Forgets an ended job; False: it has not ended, or is unknown."""
        return bool(await self.call(self.broker.delete, id))

    async def signal(self, id: str, name: str, value: Any = None) -> bool:
        """Sends a signal to a job: see `Job.signal`."""
        data = json.dumps(value, allow_nan=False).encode()
        return bool(await self.call(self.broker.signal, id, name, data))

    # --- workflows

    async def workflow_counts(self, id: str) -> dict[str, int]:
        """How many jobs of a workflow are in each state."""
        counts: dict[str, int] = await self.call(self.broker.group_counts, id)
        return counts

    async def cancel_workflow(self, id: str, reason: str = "") -> int:
        """Cancels all jobs of a workflow that have not ended. How many those were."""
        return int(await self.call(self.broker.cancel_group, id, reason))

    # --- queues and limits

    async def pause(self, queue: str) -> None:
        """Workers take no more jobs from the queue, until `resume`."""
        await self.call(self.broker.set_paused, queue, True)

    async def resume(self, queue: str) -> None:
        """Ends `pause`."""
        await self.call(self.broker.set_paused, queue, False)

    async def purge(self, queue: str) -> int:
        """Cancels all jobs of a queue that are not running. How many."""
        ended = 0
        while some := await self.call(self.broker.purge_queue, queue, _PURGE_BATCH):
            ended += some
        return ended

    async def limit(
        self,
        scope: str,
        *,
        concurrency: int | None = None,
        rate: str | float | None = None,
        burst: float | None = None,
    ) -> None:
        """Limits `queue:NAME`, `task:NAME`, or `key:TASK` (each `limit_key` of the task by itself).

        It holds across all workers, from now on. concurrency: jobs at a time. rate: jobs that
        begin, as `"10/s"` or a number a second; burst: so many at once after a rest. With neither
        the limit is removed. It wins over what a task declares, until it is removed and a worker
        starts. ValueError.
        """
        limit = limit_of(concurrency, rate)
        per_second = limit.rate if limit is not None else None
        await self.call(
            self.broker.set_limit,
            scope,
            concurrency=concurrency,
            rate=per_second,
            burst=burst if burst is not None or limit is None else limit.burst,
        )

    async def limits(self) -> list[LimitRecord]:
        """All limits, by scope."""
        found: list[LimitRecord] = await self.call(self.broker.limits)
        return found

    async def throttle(
        self, bucket: str, rate: str | float, *, burst: float | None = None, cost: float = 1.0
    ) -> None:
        """Waits until `bucket`, which all programs at this broker share, has room for `cost`."""
        per_second, usual = rate_of(rate)
        most = usual if burst is None else burst
        while True:
            wait = await self.call(self.broker.acquire, bucket, per_second, most, cost)
            if wait is None:
                return
            await asyncio.sleep(wait)

    async def queue_records(self) -> list[QueueRecord]:
        """The queues that have or had jobs, with their counts by state."""
        found: list[QueueRecord] = await self.call(self.broker.queues)
        return found

    # --- workers

    async def worker_records(self) -> list[WorkerRecord]:
        """The workers seen in the last two minutes."""
        found: list[WorkerRecord] = await self.call(self.broker.workers)
        return found

    async def order(self, what: str, *, worker: str | None = None, n: int = 1) -> int:
        """Orders the workers of a name, or all, to grow, shrink, quiet, wake or stop. How many."""
        return int(await self.call(self.broker.order_workers, worker, order(what, n)))

    # --- schedules

    async def schedule_records(self) -> list[ScheduleRecord]:
        """The schedules that the broker keeps, declared in code or made at run time."""
        found: list[ScheduleRecord] = await self.call(self.broker.schedules)
        return found

    async def add_schedule(
        self,
        name: str,
        task: Task[..., Any],
        *,
        cron: str | None = None,
        tz: str = "UTC",
        every: Seconds | None = None,
        solar: tuple[str, float, float] | None = None,
        at: datetime | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        grace: Seconds | None = None,
        catch_up: str | int = "once",
        options: Options | None = None,
    ) -> None:
        """Adds a schedule at run time, or changes the one of this name that was added so.

        Exactly one of cron, every, solar (an event such as "sunset", latitude, longitude) and at
        (once) says when. catch_up: what happens to ticks that came while no scheduler was up:
        "skip", "once", "all" (up to 1000), or how many at most; those older than `grace` never
        fire. ValueError, or InvalidArguments where the arguments do not fit the task.
        """
        if at is not None and at.tzinfo is None:
            raise ValueError(f"at={at!r} has no time zone; use datetime.now(UTC), say")
        schedule = Schedule(
            name=name,
            task=task,
            cron=cron,
            tz=tz,
            every=None if every is None else seconds(every, "every"),
            solar=solar,
            at=None if at is None else at.timestamp(),
            args=args,
            kwargs=dict(kwargs or {}),
            options=options or Options(),
            **catching_up(catch_up, grace),
        )
        await self.call(self.broker.put_schedule, schedule.spec())

    async def remove_schedule(self, name: str) -> bool:
        """False: there is none. One that code declares is back when a scheduler starts."""
        return bool(await self.call(self.broker.remove_schedule, name))

    async def pause_schedule(self, name: str) -> bool:
        """It does not fire until `resume_schedule`; False: there is none of this name."""
        return bool(await self.call(self.broker.pause_schedule, name, True))

    async def resume_schedule(self, name: str) -> bool:
        """It fires again from its next tick on; those it missed are not made up for."""
        return bool(await self.call(self.broker.pause_schedule, name, False))

    async def run_schedule(self, name: str) -> str | None:
        """Enqueues a schedule's job now, besides its ticks: the job's id, None: no schedule."""
        id: str | None = await self.call(self.broker.run_schedule, name)
        return id

    # --- events

    def on(self, kind: str, listener: Listener | None = None) -> Any:
        """Calls `listener(event)` for events of a kind in this process; `"*"` is all.

        `jobs.on("failed", f)`, or as a decorator: `@jobs.on("failed")`. Kinds: enqueued, started,
        succeeded, failed, suspended, cancelled. It must not block.
        """
        if listener is None:
            return lambda fn: self.on(kind, fn) or fn
        self._events.add(kind, listener)
        self.is_heard = True
        return None

    def events(self) -> AsyncIterator[JobEvent]:
        """Each event of this process from now on: `async for event in jobs.events()`."""
        self.is_heard = True
        return self._events.stream()

    def tell(self, event: JobEvent) -> None:
        """Tells the listeners; for the package."""
        self._events.tell(event)


def catching_up(catch_up: str | int, grace: Seconds | None) -> dict[str, Any]:
    """The core's form of what is done about missed ticks."""
    if catch_up == "skip":
        # A new leader needs so long to take over: a tick of that time is late, not missed.
        return {"grace": 20.0 if grace is None else seconds(grace, "grace"), "catch_up": 1}
    most = {"once": 1, "all": CATCH_UP_MAX}.get(catch_up) if isinstance(catch_up, str) else catch_up
    if most is None:
        raise ValueError(f'catch_up={catch_up!r} is not "skip", "once", "all" or a number')
    usual = 60.0 if most == 1 else 366 * 86_400.0
    return {"grace": usual if grace is None else seconds(grace, "grace"), "catch_up": most}
