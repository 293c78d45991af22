"""The object that a program's tasks, schedules and broker hang on."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from pelton._core import Broker, Edge, JobRecord, NewJob, QueueRecord, ScheduleRecord, WorkerRecord
from pelton.jobs.codec import Result
from pelton.jobs.context import JobContext
from pelton.jobs.declare import ScheduleDecorator, TaskDecorator
from pelton.jobs.errors import InvalidTask, JobNotFound
from pelton.jobs.job import Job
from pelton.jobs.options import Seconds, seconds
from pelton.jobs.program import module_name, program_folder
from pelton.jobs.schedule import Schedule
from pelton.jobs.task import AsyncTask, SyncTask, Task, TaskSettings

P = ParamSpec("P")
R = TypeVar("R")

PAYLOAD_LIMIT = 1024 * 1024
"""Bytes of JSON that arguments, or a result, may have: 1 MiB."""

# In order of creation. Weak: a Jobs object lives as long as its tasks, which hold it.
_instances: weakref.WeakValueDictionary[int, Jobs] = weakref.WeakValueDictionary()
_lock = threading.Lock()
_created = 0
_UNTYPED = Result(Any, "a task that is not known here")


class Jobs:
    """Tasks and schedules, and the broker that keeps their jobs.

    url: `sqlite:///relative.db` or `sqlite:////absolute.db`. Without one it is PELTON_BROKER, and
    without that `pelton.db` beside the program: in the folder of the top module or package that
    made this object, so that every process of the program finds the same file. The environment is
    read, and the broker opened (and created), at the first use.

    payload_limit: bytes of JSON that arguments or a result may have.

    An object may be used from any thread and any event loop. `async with jobs:` or `start()` opens
    the broker early; `stop()` closes it, and a later use opens it again.
    """

    def __init__(self, url: str | None = None, *, payload_limit: int = PAYLOAD_LIMIT) -> None:
        global _created
        self.payload_limit = payload_limit
        self.tasks: dict[str, Task[..., Any]] = {}
        self.schedules: dict[str, Schedule] = {}
        self._given_url = url
        self._beside = program_folder(sys._getframe(1))
        self._broker: Broker | None = None
        self._broker_pid = 0
        self._opening = threading.Lock()
        with _lock:
            _created += 1
            _instances[_created] = self

    def __repr__(self) -> str:
        return f"<Jobs {self.url} with {len(self.tasks)} tasks>"

    # --- its life

    @property
    def url(self) -> str:
        """Where the jobs are kept."""
        if self._broker is not None:
            return self._broker.url
        if self._given_url is not None:
            return self._given_url
        return os.environ.get("PELTON_BROKER") or f"sqlite:///{self._beside / 'pelton.db'}"

    @property
    def broker(self) -> Broker:
        """The core's broker, opened at first use; BrokerError where it cannot be."""
        broker = self._broker
        if broker is not None and self._broker_pid == os.getpid():
            return broker
        with self._opening:
            if self._broker is None or self._broker_pid != os.getpid():
                # After a fork the parent's broker, whose threads are not here, is left alone.
                self._broker = Broker(self.url)
                self._broker_pid = os.getpid()
            return self._broker

    async def start(self) -> None:
        """Opens the broker, off the loop; BrokerError where it cannot be."""
        await asyncio.to_thread(lambda: self.broker)

    async def stop(self) -> None:
        """Closes the broker, after the writes under way."""
        with self._opening:
            broker, self._broker = self._broker, None
        if broker is not None and self._broker_pid == os.getpid():
            await asyncio.to_thread(broker.close)

    async def __aenter__(self) -> Jobs:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    # --- declarations

    @overload
    def task(  # type: ignore[overload-overlap]  # see TaskDecorator
        self, fn: Callable[Concatenate[JobContext, P], Awaitable[R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(  # type: ignore[overload-overlap]
        self, fn: Callable[P, Awaitable[R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(self, fn: Callable[Concatenate[JobContext, P], R], /) -> SyncTask[P, R]: ...
    @overload
    def task(self, fn: Callable[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def task(
        self,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        retries: int = 3,
        backoff: Seconds = 1.0,
        backoff_max: Seconds = 600.0,
        backoff_factor: float = 2.0,
        jitter: bool = True,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        give_up_on: type[BaseException] | tuple[type[BaseException], ...] = (),
        timeout: Seconds | None = None,
        cpu: bool = False,
        priority: int = 0,
        result_ttl: Seconds = 86_400.0,
    ) -> TaskDecorator: ...

    def task(
        self,
        fn: Any = None,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        retries: int = 3,
        backoff: Seconds = 1.0,
        backoff_max: Seconds = 600.0,
        backoff_factor: float = 2.0,
        jitter: bool = True,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        give_up_on: type[BaseException] | tuple[type[BaseException], ...] = (),
        timeout: Seconds | None = None,
        cpu: bool = False,
        priority: int = 0,
        result_ttl: Seconds = 86_400.0,
    ) -> Any:
        """Makes a function a task: `@jobs.task`, or `@jobs.task(retries=5, timeout=30)`.

        An `async def` function runs on the worker's loop, a `def` function in a thread, and with
        `cpu=True` in a process of its pool. A first parameter annotated JobContext is filled by
        the worker.

        name: under which jobs are kept, `module.function` by default; keep it when the function
        moves. retries: attempts after the first, with delays drawn from 0 to
        `min(backoff_max, backoff * backoff_factor**(n-1))` (without `jitter`: that bound itself).
        retry_on, give_up_on: exceptions that deserve another attempt (None: all), and those that
        do not, which weigh more. timeout: seconds that an attempt may take. priority: -100 to
        100, larger first. result_ttl: how long an ended job and its result are kept.
        """
        settings = TaskSettings(
            queue=queue,
            retries=retries,
            backoff=seconds(backoff),
            backoff_max=seconds(backoff_max),
            backoff_factor=backoff_factor,
            jitter=jitter,
            retry_on=(retry_on,) if isinstance(retry_on, type) else retry_on,
            give_up_on=(give_up_on,) if isinstance(give_up_on, type) else give_up_on,
            timeout=None if timeout is None else seconds(timeout),
            cpu=cpu,
            priority=priority,
            result_ttl=seconds(result_ttl),
        )
        if fn is not None:
            return self._add_task(fn, name, settings, sys._getframe(1))
        return lambda fn: self._add_task(fn, name, settings, sys._getframe(1))

    def cron(
        self,
        expression: str,
        *,
        tz: str = "UTC",
        name: str | None = None,
        grace: Seconds = 60.0,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> ScheduleDecorator:
        """Runs a task by a cron expression: five fields, or six with seconds first.

        It decorates a function, which becomes a task with default settings, or a task made by
        `@jobs.task(...)` below it. tz: an IANA name; changes of the clock there neither skip nor
        double a run. name: of the schedule, the task's by default. grace: a run that was missed
        because no scheduler was up happens once, if it is younger than this. args, kwargs: for
        the task. ValueError where the expression or the zone is wrong.
        """
        options = {"cron": expression, "tz": tz, "grace": seconds(grace)}
        return self._scheduled(options, name, args, kwargs)

    def every(
        self,
        interval: Seconds,
        *,
        name: str | None = None,
        grace: Seconds = 60.0,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> ScheduleDecorator:
        """Runs a task every so many seconds; otherwise like `cron`."""
        options = {"every": seconds(interval), "grace": seconds(grace)}
        return self._scheduled(options, name, args, kwargs)

    def _scheduled(
        self,
        options: dict[str, Any],
        name: str | None,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
    ) -> ScheduleDecorator:
        def decorate(fn: Callable[..., Any]) -> Any:
            task = fn
            if not isinstance(task, Task):
                task = self._add_task(fn, None, TaskSettings(), sys._getframe(1))
            schedule = Schedule(
                name=name or task.name, task=task, args=args, kwargs=dict(kwargs or {}), **options
            )
            if schedule.name in self.schedules:
                raise InvalidTask(f"there is a schedule {schedule.name!r} already; give a name=")
            self.schedules[schedule.name] = schedule
            return task

        return decorate

    def _add_task(
        self, fn: Callable[..., Any], name: str | None, settings: TaskSettings, frame: FrameType
    ) -> Task[..., Any]:
        if not callable(fn) or isinstance(fn, Task):
            raise InvalidTask(f"@jobs.task decorates a function, not {fn!r}")
        name = name or f"{module_name(fn)}.{fn.__qualname__}"
        if name in self.tasks:
            raise InvalidTask(f"there is a task {name!r} already; give one of them another name=")
        # Annotations written as text in a function within a function may name its locals.
        local = dict(frame.f_locals) if "<locals>" in fn.__qualname__ else {}
        task: Task[..., Any] = Task(self, fn, name, settings, local)
        self.tasks[name] = task
        return task

    # --- jobs

    async def job(self, id: str) -> Job[Any]:
        """The handle of a job that was enqueued anywhere; JobNotFound."""
        return Job(self, id, (await self.record(id)).task)

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

    async def cancel(self, id: str, reason: str = "") -> bool:
        """Cancels a job: see `Job.cancel`."""
        return bool(await self.call(self.broker.cancel, id, reason))

    async def retry(self, id: str) -> bool:
        """Queues a dead or cancelled job again, with all its retries; False: it is neither."""
        return bool(await self.call(self.broker.retry, id))

    async def delete(self, id: str) -> bool:
        """Forgets an ended job; False: it has not ended, or is unknown."""
        return bool(await self.call(self.broker.delete, id))

    async def pause(self, queue: str) -> None:
        """Workers take no more jobs from the queue, until `resume`."""
        await self.call(self.broker.set_paused, queue, True)

    async def resume(self, queue: str) -> None:
        """Ends `pause`."""
        await self.call(self.broker.set_paused, queue, False)

    async def queue_records(self) -> list[QueueRecord]:
        """The queues that have or had jobs, with their counts by state."""
        found: list[QueueRecord] = await self.call(self.broker.queues)
        return found

    async def worker_records(self) -> list[WorkerRecord]:
        """The workers seen in the last two minutes."""
        found: list[WorkerRecord] = await self.call(self.broker.workers)
        return found

    async def schedule_records(self) -> list[ScheduleRecord]:
        """The schedules that a scheduler has written to the broker."""
        found: list[ScheduleRecord] = await self.call(self.broker.schedules)
        return found

    # --- for the package

    async def write(self, new: Sequence[NewJob], edges: Sequence[Edge] = ()) -> list[str]:
        """Writes jobs, all or none; the ids, an unfinished job's where a key was taken."""
        ids: list[str] = await self.call(self.broker.enqueue, new, edges)
        return ids

    def write_blocking(self, new: Sequence[NewJob], edges: Sequence[Edge] = ()) -> list[str]:
        """`write`, blocking the thread."""
        return self.broker.enqueue(new, edges) or []

    async def call(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Awaits a broker operation on the running loop."""
        waiter = asyncio.get_running_loop().create_future()
        operation(*args, waiter=waiter, **kwargs)
        return await waiter

    def decode_result(self, task: str, result: bytes) -> Any:
        """A result, typed if the task is known here, else as plain JSON values."""
        known = self.tasks.get(task)
        return (known.returned if known is not None else _UNTYPED).decode(result)


def instances() -> list[Jobs]:
    """Every Jobs object of this process that is still in use, in order of creation."""
    with _lock:
        return [_instances[number] for number in sorted(_instances.keys())]
