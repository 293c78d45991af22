"""A worker's dealings with one broker: lease, run, finish."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pelton._core import Broker, BrokerError, LeasedJob, Outcome, WorkerSession
from pelton.jobs.attempt import (
    Attempt,
    Failure,
    Rest,
    Verdict,
    decode,
    encode,
    failed,
    failure,
    overdue,
    run_blocking,
)
from pelton.jobs.context import JobContext
from pelton.jobs.events import JobEvent
from pelton.jobs.headers import enter, read
from pelton.jobs.orders import Orders
from pelton.jobs.outcomes import Outcomes
from pelton.jobs.processes import Order, ProcessPool, ProcessWork
from pelton.jobs.steps import Steps, Suspended
from pelton.jobs.task import Task
from pelton.jobs.threads import ThreadPool

_LOGGER = logging.getLogger("pelton.jobs")

_LEASE_WAIT_SECONDS = 0.2  # one lease call; a worker that stops waits for its end
_RETRY_SECONDS_MAX = 5.0  # between two tries when the broker fails
_UNFINISHED_MAX = 2048  # outcomes on their way to the broker; above it, nothing is leased
_SWALLOWED_SECONDS = 5.0  # for an async task that was cancelled to end


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """How a lane works: see `Worker`."""

    name: str
    queues: Sequence[str]
    skip: Sequence[str]
    concurrency: int
    lease: float
    unknown_task_delay: float


class Lane:
    """Leases jobs of one broker, runs each where its task belongs, and reports the outcomes.

    Everything here happens in the loop's thread. A leased job is in `_attempts` until its outcome
    is handed over.
    """

    def __init__(
        self,
        broker: Broker,
        tasks: Mapping[str, Task[..., Any]],
        settings: LaneSettings,
        threads: ThreadPool,
        processes: ProcessPool | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._broker = broker
        self._tasks = tasks
        self._settings = settings
        self._threads = threads
        self._processes = processes
        self._context = contextvars.copy_context()
        self._attempts: dict[str, Attempt] = {}
        self._written: Outcomes | None = None
        self._retry_seconds = 0.1
        self._stopping = False
        self._hurried = False
        self._changed: asyncio.Future[None] | None = None
        self._session: WorkerSession | None = None
        self._pump: asyncio.Task[None] | None = None
        self.processed = 0
        self.concurrency = settings.concurrency
        self.quiet = False
        self.on_orders: Orders | None = None

    @property
    def pump(self) -> asyncio.Task[None]:
        """The task that leases jobs; it ends only after `stop`, or by a defect."""
        assert self._pump is not None  # start() was awaited
        return self._pump

    @property
    def _live(self) -> WorkerSession:
        assert self._session is not None  # start() was awaited
        return self._session

    @property
    def _outcomes(self) -> Outcomes:
        assert self._written is not None  # start() was awaited
        return self._written

    @property
    def running(self) -> int:
        """Jobs that are leased and have no outcome yet."""
        return len(self._attempts)

    async def start(self) -> None:
        """Registers the worker and begins to lease; BrokerError where the broker fails."""
        settings = self._settings
        self._session = await asyncio.to_thread(
            WorkerSession,
            self._broker,
            name=settings.name,
            queues=settings.queues,
            skip=settings.skip,
            concurrency=settings.concurrency,
            lease=settings.lease,
            on_cancel=functools.partial(self._from_core, "cancel"),
            on_lost=functools.partial(self._from_core, "lost"),
            on_order=self._ordered,
        )
        self._written = Outcomes(self._session, self._change)
        self._pump = self._loop.create_task(self._lease_for_ever())

    async def stop(self, grace: float) -> None:
        """Leases no more, waits `grace` seconds for running jobs, and returns the rest."""
        self._stopping = True
        self._change()
        await asyncio.wait([self.pump])
        for attempt in list(self._attempts.values()):
            if not _begun(attempt):
                self._end(attempt, "stop")
        await self._until(lambda: not self._attempts or self._hurried, grace)
        for attempt in list(self._attempts.values()):
            self._end(attempt, "stop")
        if not await self._until(lambda: not self._attempts, _SWALLOWED_SECONDS):
            for attempt in list(self._attempts.values()):
                _LOGGER.error("%s ignores its cancellation; returned", _named(attempt))
                self._settle(attempt, Outcome.release(attempt.job))
        outcomes = self._outcomes
        if not await self._until(lambda: not outcomes.unwritten, _SWALLOWED_SECONDS):
            _LOGGER.error(
                "%d outcomes could not be written; those jobs will run again", outcomes.unwritten
            )
        await outcomes.close()
        await asyncio.to_thread(self._live.close)
        self.pump.result()  # a defect that ended it early comes out here

    def hurry(self) -> None:
        """Ends the grace period of a `stop` under way."""
        self._hurried = True
        self._change()

    # --- lease

    async def _lease_for_ever(self) -> None:
        while not self._stopping:
            room = self.concurrency - len(self._attempts)
            if self.quiet or room <= 0 or self._outcomes.unwritten >= _UNFINISHED_MAX:
                await self._change_awaited()
                continue
            try:
                leased = await self._lease(room)
            except BrokerError as error:
                _LOGGER.error("cannot lease jobs, trying again: %s", error)
                await self._until(lambda: self._stopping, self._backoff())
                continue
            self._retry_seconds = 0.1
            for job in leased:
                if self._stopping or self.quiet:
                    self._outcomes.add(job, Outcome.release(job))
                else:
                    self._begin(job)

    async def _lease(self, room: int) -> list[LeasedJob]:
        waiter: asyncio.Future[list[LeasedJob]] = self._loop.create_future()
        self._live.lease(room, _LEASE_WAIT_SECONDS, waiter=waiter)
        return await waiter

    # --- run

    def _begin(self, job: LeasedJob) -> None:
        task = self._tasks.get(job.task)
        if task is None:
            self._refuse(job)
            return
        context = JobContext(
            id=job.id,
            task=job.task,
            queue=job.queue,
            attempt=job.attempt,
            max_retries=job.max_retries,
            report=functools.partial(self._report, job),
            headers=None if job.headers is None else read(job.headers),
            steps=None if task.kind == "process" else (self._session, job, task.jobs.payload_limit),
        )
        if task.jobs.is_heard:
            self._tell("started", job)
        attempt = Attempt(job, task, context)
        self._attempts[job.id] = attempt
        if task.kind == "async":
            self._begin_async(attempt)
        elif task.kind == "thread":
            self._begin_thread(attempt)
        else:
            self._begin_process(attempt)

    def _begin_async(self, attempt: Attempt) -> None:
        job, task = attempt.job, attempt.task
        try:
            headers = attempt.context.headers
            values = decode(task, job.payload, job.inputs, headers)
            call: Callable[[], Any] = functools.partial(
                task.arguments.call, attempt.context, values
            )
            for middleware in reversed(task.jobs.async_middleware):
                call = functools.partial(middleware, attempt.context, call)
            # Each job has a context of its own, with what rode along.
            context = self._context.copy()
            if headers:
                context.run(enter, dict(headers), task.jobs.context)
            coroutine = call()
        except Exception as error:
            self._ended(attempt, failure(task, error))
            return
        running = self._loop.create_task(_contained(coroutine), context=context)
        attempt.handle = running
        self._time(attempt)
        running.add_done_callback(functools.partial(self._async_done, attempt))

    def _async_done(self, attempt: Attempt, running: asyncio.Task[Any]) -> None:
        task = attempt.task
        error = asyncio.CancelledError() if running.cancelled() else running.exception()
        if error is None:
            try:
                self._ended(attempt, encode(task, running.result()))
                return
            except Exception as unfit:
                error = unfit
        if isinstance(error, Suspended):
            self._ended(attempt, Rest(error.until, error.signal))
        elif isinstance(error, asyncio.CancelledError) and attempt.verdict is not None:
            self._ended_by_verdict(attempt)
        elif isinstance(error, asyncio.CancelledError) and attempt.overdue:
            self._ended(attempt, overdue(task))
        else:
            if isinstance(attempt.context._steps, Steps):
                attempt.context._steps.note_failure(error)
            self._ended(attempt, failure(task, error))

    def _begin_thread(self, attempt: Attempt) -> None:
        job = attempt.job
        attempt.handle = self._threads.submit(
            functools.partial(run_blocking, attempt.task, attempt.context, job.payload, job.inputs),
            functools.partial(self._ended, attempt),
            None
            if job.timeout is None and attempt.task.settings.soft_timeout is None
            else lambda _work: self._time(attempt),
            self._context.copy(),
        )

    def _begin_process(self, attempt: Attempt) -> None:
        assert self._processes is not None  # there is a pool where there is a cpu task
        job = attempt.job
        attempt.handle = ProcessWork(
            Order(
                job.id,
                job.task,
                job.queue,
                job.attempt,
                job.max_retries,
                job.payload,
                list(job.inputs),
                job.headers,
            ),
            functools.partial(self._ended, attempt),
            functools.partial(self._time, attempt),
            functools.partial(self._report, job),
        )
        self._processes.submit(attempt.handle)

    def _time(self, attempt: Attempt) -> None:
        timeout = attempt.job.timeout
        soft = attempt.task.settings.soft_timeout
        if soft is not None and attempt.job.id in self._attempts:
            attempt.soft_timer = self._loop.call_later(soft, self._hint, attempt)
        if timeout is not None and attempt.job.id in self._attempts:
            attempt.timer = self._loop.call_later(timeout, self._end, attempt, "timeout")

    def _report(self, job: LeasedJob, fraction: float, message: str | None) -> None:
        self._live.progress(job, fraction, message)

    # --- end

    def _from_core(self, verdict: Verdict, ids: list[str]) -> None:
        """Called from the core's thread."""
        self._loop.call_soon_threadsafe(self._end_these, verdict, ids)

    def _end_these(self, verdict: Verdict, ids: list[str]) -> None:
        for id in ids:
            attempt = self._attempts.get(id)
            if attempt is not None:
                if verdict == "lost":
                    _LOGGER.warning("%s: the lease was lost; stopping it", _named(attempt))
                self._end(attempt, verdict)

    def _hint(self, attempt: Attempt) -> None:
        """The soft timeout: the task is asked to end by itself."""
        attempt.context._cancel()
        attempt.overdue = True
        if isinstance(attempt.handle, asyncio.Task):
            attempt.handle.cancel()
        elif isinstance(attempt.handle, ProcessWork) and attempt.handle.process is not None:
            attempt.handle.process.hint()

    def _ordered(self, orders: list[bytes]) -> None:
        """Called from the core's thread."""
        if self.on_orders is not None:
            self._loop.call_soon_threadsafe(self.on_orders.obey, orders)

    def report(self, report: bytes) -> None:
        """What others are told of this worker."""
        self._live.report(report)

    def changed(self) -> None:
        """Its concurrency or rest was changed."""
        self._change()

    def _tell(self, kind: str, job: LeasedJob, error: str = "") -> None:
        task = self._tasks.get(job.task)
        if task is not None and task.jobs.is_heard:
            task.jobs.tell(JobEvent(kind, job.id, job.task, job.queue, job.attempt, error))

    def _end(self, attempt: Attempt, verdict: Verdict) -> None:
        """Stops an attempt from outside; the first verdict counts."""
        if attempt.verdict is None:
            attempt.verdict = verdict
        attempt.context._cancel()
        if isinstance(attempt.handle, asyncio.Task):
            attempt.handle.cancel()
            return
        # A thread cannot be stopped: it goes on, with `ctx.cancelled` set, and its end is ignored.
        if isinstance(attempt.handle, ProcessWork):
            assert self._processes is not None  # it made the handle
            self._processes.drop(attempt.handle)
        elif attempt.handle is not None:
            self._threads.drop(attempt.handle)
        self._ended_by_verdict(attempt)

    def _ended_by_verdict(self, attempt: Attempt) -> None:
        job = attempt.job
        if attempt.verdict == "timeout":
            message = f"the attempt took longer than its timeout of {job.timeout} s"
            retry = attempt.task.wants_retry(TimeoutError())
            self._ended(attempt, failed("TimeoutError", message, retry=retry))
        elif attempt.verdict == "cancel":
            self._tell("cancelled", job)
            self._settle(attempt, Outcome.cancelled(job, ""))
        elif attempt.verdict == "stop":
            self._settle(attempt, Outcome.release(job))
        else:
            self._settle(attempt, None)

    def _ended(self, attempt: Attempt, end: bytes | Failure | Rest) -> None:
        job = attempt.job
        if isinstance(end, bytes):
            if attempt.task.jobs.is_heard:
                self._tell("succeeded", job)
            self._settle(attempt, Outcome.success(job, end))
            return
        if isinstance(end, Rest):
            try:
                rest = Outcome.suspend(job, until=end.until, signal=end.signal)
            except ValueError as error:  # a step's record that another program wrote, say
                self._ended(attempt, failure(attempt.task, error))
                return
            self._tell("suspended", job)
            self._settle(attempt, rest)
            return
        self._tell("failed", job, end.summary)
        outcome = Outcome.failure(job, end.error, retry=end.retry, delay=end.delay)
        self._settle(attempt, outcome, end)

    def _refuse(self, job: LeasedJob) -> None:
        message = f"this worker has no task {job.task!r}; a newer one may take the job"
        end = failed("UnknownTask", message, delay=self._settings.unknown_task_delay)
        outcome = Outcome.failure(job, end.error, delay=end.delay)
        self._outcomes.add(job, outcome, ("unknown task", end))

    def _settle(
        self, attempt: Attempt, outcome: Outcome | None, failure: Failure | None = None
    ) -> None:
        if self._attempts.get(attempt.job.id) is not attempt:
            return  # settled before: a late word of something that was given up
        del self._attempts[attempt.job.id]
        attempt.stop_timer()
        attempt.handle = None
        self.processed += 1
        if outcome is not None:
            logged = None if failure is None else (attempt.task.name, failure)
            self._outcomes.add(attempt.job, outcome, logged)
        self._change()

    # --- waiting

    def _backoff(self) -> float:
        seconds = self._retry_seconds
        self._retry_seconds = min(seconds * 2, _RETRY_SECONDS_MAX)
        return seconds

    def _change(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def _change_awaited(self) -> None:
        if self._changed is None or self._changed.done():
            self._changed = self._loop.create_future()
        await asyncio.shield(self._changed)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Waits for a condition, at most so long; whether it holds."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._change_awaited()
        except TimeoutError:
            pass
        return condition()


async def _contained(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """A task's sys.exit() ends the task, not the worker."""
    try:
        return await coroutine
    except SystemExit as error:
        raise RuntimeError(f"the task called sys.exit({error.code!r})") from error


def _begun(attempt: Attempt) -> bool:
    if isinstance(attempt.handle, asyncio.Task):
        return True
    if isinstance(attempt.handle, ProcessWork):
        return attempt.handle.process is not None
    return attempt.handle is not None and bool(attempt.handle.begun)


def _named(attempt: Attempt) -> str:
    return f"{attempt.job.task}[{attempt.job.id}]"
