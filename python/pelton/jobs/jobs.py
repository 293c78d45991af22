"""The object that a program's tasks, schedules and broker hang on."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from pelton._core import Broker, Edge, NewJob
from pelton.jobs._store import shown, tell_of_file, with_store
from pelton.jobs.codec import Result
from pelton.jobs.context import JobContext
from pelton.jobs.declare import ScheduleDecorator, TaskDecorator
from pelton.jobs.errors import InvalidTask
from pelton.jobs.events import JobEvent
from pelton.jobs.job import Job
from pelton.jobs.limits import Limit, limit_of
from pelton.jobs.operations import Operations, catching_up
from pelton.jobs.options import Seconds, above_0, seconds
from pelton.jobs.program import module_name, program_folder
from pelton.jobs.schedule import Schedule
from pelton.jobs.task import AsyncTask, SyncTask, Task, TaskSettings, Upgrade

Middleware = TypeVar("Middleware", bound=Callable[..., Any])
EnqueueHook = Callable[[str, dict[str, Any]], object]

P = ParamSpec("P")
R = TypeVar("R")

PAYLOAD_LIMIT = 1024 * 1024
"""Bytes of JSON that arguments, or a result, may have: 1 MiB."""

PAYLOAD_LIMIT_MAX = 64 * 1024 * 1024
"""What a broker takes at most."""

# In order of creation. Weak: a Jobs object lives as long as its tasks, which hold it.
_instances: weakref.WeakValueDictionary[int, Jobs] = weakref.WeakValueDictionary()
_lock = threading.Lock()
_created = 0
_UNTYPED = Result(Any, "a task that is not known here")


class Jobs(Operations):
    """Tasks and schedules, and the broker that keeps their jobs.

    url: `sqlite:///relative.db`, `sqlite:////absolute.db`, `redis://host:6379/0`,
    `postgresql://user:password@host/database` or `amqp://user:password@host:5672/vhost`. Without
    one it is PELTON_BROKER, and without that `pelton.db` beside the program: in the folder of the
    top module or package that made this object, so that every process of the program finds the
    same file. The environment is read, and the broker opened (and created), at the first use.

    store: for RabbitMQ (`amqp://`), which hands jobs out and keeps no records: the SQLite, Redis
    or PostgreSQL broker that does. It may stand in the URL instead, as `?store=`; without one it
    is the file `pelton-amqp.db` beside the program, for workers on one machine.

    payload_limit: bytes of JSON that arguments or a result may have, 64 MiB at most. context:
    context variables whose values, plain JSON ones, ride along with each job and are set where it
    runs; OpenTelemetry's trace context does too, where the program uses it. eager: for tests:
    enqueueing runs the job, and all others that are ready, before it returns; `memory://` is a
    broker for them that leaves nothing behind.

    An object may be used from any thread and any event loop. `async with jobs:` or `start()` opens
    the broker early; `stop()` closes it, and a later use opens it again.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        store: str | None = None,
        payload_limit: int = PAYLOAD_LIMIT,
        context: Sequence[ContextVar[Any]] = (),
        eager: bool = False,
    ) -> None:
        global _created
        super().__init__()
        if not 0 < payload_limit <= PAYLOAD_LIMIT_MAX:
            raise ValueError(
                f"payload_limit={payload_limit!r} is not within 1 and {PAYLOAD_LIMIT_MAX}, which "
                "is what brokers store: keep larger data elsewhere, and send its name"
            )
        self.payload_limit = payload_limit
        self.context = tuple(context)
        self.eager = eager
        self.async_middleware: list[Callable[..., Any]] = []
        self.blocking_middleware: list[Callable[..., Any]] = []
        self._enqueue_hooks: list[EnqueueHook] = []
        self.tasks: dict[str, Task[..., Any]] = {}
        self.schedules: dict[str, Schedule] = {}
        self._given_url = url
        self._store = store
        self._beside = program_folder(sys._getframe(1))
        self._broker: Broker | None = None
        self._broker_pid = 0
        self._opening = threading.Lock()
        with _lock:
            _created += 1
            _instances[_created] = self

    def __repr__(self) -> str:
        return f"<Jobs {shown(self.url)} with {len(self.tasks)} tasks>"

    @classmethod
    def of(cls, broker: Broker) -> Jobs:
        """An object on a broker that is open already, which it does not close."""
        jobs = cls(broker.url)
        jobs._broker, jobs._broker_pid = broker, os.getpid()
        return jobs

    # --- its life

    @property
    def url(self) -> str:
        """Where the jobs are kept, with the password, if one is in it."""
        if self._broker is not None:
            return self._broker.url
        return with_store(self._named, self._store, self._beside)

    @property
    def _named(self) -> str:
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
                url = with_store(self._named, self._store, self._beside)
                self._broker = Broker(url)
                self._broker_pid = os.getpid()
                if self._store is None:
                    tell_of_file(self._named, self._beside)
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
        soft_timeout: Seconds | None = None,
        concurrency: int | None = None,
        rate_limit: str | float | None = None,
        key_concurrency: int | None = None,
        key_rate_limit: str | float | None = None,
        retry_budget: tuple[int, float] | None = None,
        version: int = 1,
        upgrade: Upgrade | None = None,
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
        soft_timeout: Seconds | None = None,
        concurrency: int | None = None,
        rate_limit: str | float | None = None,
        key_concurrency: int | None = None,
        key_rate_limit: str | float | None = None,
        retry_budget: tuple[int, float] | None = None,
        version: int = 1,
        upgrade: Upgrade | None = None,
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
        100, larger first. result_ttl: how long an ended job and its result are kept. soft_timeout:
        seconds after which an `async` task is cancelled and a `cpu=True` one gets SoftTimeout, to
        tidy up until `timeout`; in a thread `ctx.cancelled` is set. concurrency, rate_limit: how
        many run at a time, and how many begin ("10/s", "100/m", or a number a second), across all
        workers; key_concurrency, key_rate_limit: the same for each `limit_key` by itself. A worker
        that starts sets them; what `jobs.limit` sets wins. retry_budget: (retries, seconds): in
        each worker no more of its failures are tried again within so long; the others are dead.
        version: of the arguments; upgrade: `(arguments, their version)` to those of the newest.
        """
        settings = TaskSettings(
            queue=queue,
            retries=retries,
            backoff=seconds(backoff, "backoff"),
            backoff_max=seconds(backoff_max, "backoff_max"),
            backoff_factor=backoff_factor,
            jitter=jitter,
            retry_on=(retry_on,) if isinstance(retry_on, type) else retry_on,
            give_up_on=(give_up_on,) if isinstance(give_up_on, type) else give_up_on,
            timeout=None if timeout is None else above_0(timeout, "timeout"),
            cpu=cpu,
            priority=priority,
            result_ttl=seconds(result_ttl, "result_ttl"),
            soft_timeout=None if soft_timeout is None else above_0(soft_timeout, "soft_timeout"),
            version=version,
            upgrade=upgrade,
            limits=_limits(
                limit_of(concurrency, rate_limit), limit_of(key_concurrency, key_rate_limit)
            ),
            retry_budget=retry_budget,
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
        grace: Seconds | None = None,
        catch_up: str | int = "once",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> ScheduleDecorator:
        """Runs a task by a cron expression: five fields, or six with seconds first.

        It decorates a function, which becomes a task with default settings, or a task made by
        `@jobs.task(...)` below it. tz: an IANA name; changes of the clock there neither skip nor
        double a run. name: of the schedule, the task's by default. catch_up: of the runs that were
        missed because no scheduler was up, "once" makes up for the newest, "all" for all (up to
        1000), a number for so many, "skip" for none; runs older than `grace` (a minute for "once",
        a year for more) never happen. args, kwargs: for the task. ValueError where the expression
        or the zone is wrong.
        """
        options = {"cron": expression, "tz": tz, **catching_up(catch_up, grace)}
        return self._scheduled(options, name, args, kwargs)

    def every(
        self,
        interval: Seconds,
        *,
        name: str | None = None,
        grace: Seconds | None = None,
        catch_up: str | int = "once",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> ScheduleDecorator:
        """Runs a task every so many seconds; otherwise like `cron`."""
        options = {"every": seconds(interval, "every"), **catching_up(catch_up, grace)}
        return self._scheduled(options, name, args, kwargs)

    def solar(
        self,
        event: str,
        latitude: float,
        longitude: float,
        *,
        name: str | None = None,
        grace: Seconds | None = None,
        catch_up: str | int = "once",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> ScheduleDecorator:
        """Runs a task by the sun at a place, in degrees north and east; otherwise like `cron`.

        event: sunrise, solar_noon, sunset; dawn_civil, dawn_nautical, dawn_astronomical, and dusk
        likewise.
        """
        options = {"solar": (event, latitude, longitude), **catching_up(catch_up, grace)}
        return self._scheduled(options, name, args, kwargs)

    def middleware(self, fn: Middleware) -> Middleware:
        """Runs `fn(ctx, call_next)` around each job of this object: `@jobs.middleware`.

        An `async def` runs around `async` tasks and awaits `call_next()`; a `def` around the
        others, in their thread or process. It returns the result; the first added is outermost.
        """
        if inspect.iscoroutinefunction(fn):
            self.async_middleware.append(fn)
        else:
            self.blocking_middleware.append(fn)
        return fn

    def before_enqueue(self, fn: EnqueueHook) -> EnqueueHook:
        """Calls `fn(task, headers)` before each job is made: it may add headers, or raise."""
        self._enqueue_hooks.append(fn)
        return fn

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

    async def job(self, id: str) -> Job[Any]:
        """The handle of a job that was enqueued anywhere; JobNotFound."""
        return Job(self, id, (await self.record(id)).task)

    # --- for the package

    async def write(self, new: Sequence[NewJob], edges: Sequence[Edge] = ()) -> list[str]:
        """Writes jobs, all or none; the ids, an unfinished job's where a key was taken."""
        ids: list[str] = await self.call(self.broker.enqueue, new, edges)
        self._tell_enqueued(new)
        if self.eager:
            from pelton.jobs.worker import run_ready

            await run_ready(self)
        return ids

    def write_blocking(self, new: Sequence[NewJob], edges: Sequence[Edge] = ()) -> list[str]:
        """`write`, blocking the thread."""
        ids = self.broker.enqueue(new, edges) or []
        self._tell_enqueued(new)
        if self.eager:
            from pelton.jobs.worker import run_ready

            asyncio.run(run_ready(self))
        return ids

    def new_headers(self, task: str, own: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """A job's headers, as the hooks of `before_enqueue` leave them."""
        if not self._enqueue_hooks:
            return own
        headers = dict(own or {})
        for hook in self._enqueue_hooks:
            hook(task, headers)
        return headers

    def _tell_enqueued(self, new: Sequence[NewJob]) -> None:
        if self.is_heard:
            for job in new:
                self.tell(JobEvent("enqueued", job.id, job.task, job.queue))

    def decode_result(self, task: str, result: bytes) -> Any:
        """A result, typed if the task is known here, else as plain JSON values."""
        known = self.tasks.get(task)
        return (known.returned if known is not None else _UNTYPED).decode(result)


def _limits(whole: Limit | None, each_key: Limit | None) -> dict[str, Limit]:
    found = {"task": whole, "key": each_key}
    return {scope: limit for scope, limit in found.items() if limit is not None}


def instances() -> list[Jobs]:
    """Every Jobs object of this process that is still in use, in order of creation."""
    with _lock:
        return [_instances[number] for number in sorted(_instances.keys())]
