"""A function that can be enqueued."""

from __future__ import annotations

import functools
import inspect
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar

from pelton._core import NewJob, RetryPolicy, new_job_id
from pelton.jobs import outbox
from pelton.jobs.codec import Arguments, Result, Shape, annotations_of
from pelton.jobs.context import JobContext
from pelton.jobs.errors import InvalidArguments, InvalidTask, PayloadTooLarge, Retry
from pelton.jobs.headers import capture
from pelton.jobs.job import Job
from pelton.jobs.limits import Limit, RetryBudget
from pelton.jobs.options import Options, Seconds, seconds
from pelton.jobs.transaction import is_postgres, write_within, write_within_blocking

if TYPE_CHECKING:
    from pelton.jobs.jobs import Jobs
    from pelton.jobs.workflow import Signature


P = ParamSpec("P")
R = TypeVar("R")

Call = Sequence[Any] | Mapping[str, Any]
"""One call in `enqueue_many`: a sequence of positional arguments, or a mapping of keywords."""

_PLAIN = Options()  # nothing differs from the task: the quick way

Upgrade = Callable[[dict[str, Any], int], Mapping[str, Any]]
"""Makes the arguments of an older version those of the newest: (arguments, their version)."""

Kind = Literal["async", "thread", "process"]


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """What `@jobs.task(...)` was given; its docstring explains each."""

    queue: str = "default"
    retries: int = 3
    backoff: float = 1.0
    backoff_max: float = 600.0
    backoff_factor: float = 2.0
    jitter: bool = True
    retry_on: tuple[type[BaseException], ...] | None = None
    give_up_on: tuple[type[BaseException], ...] = ()
    timeout: float | None = None
    cpu: bool = False
    priority: int = 0
    result_ttl: float = 86_400.0
    soft_timeout: float | None = None
    version: int = 1
    upgrade: Upgrade | None = None
    limits: Mapping[str, Limit] = field(default_factory=dict)
    retry_budget: tuple[int, float] | None = None

    def policy(self, retries: int | None = None) -> RetryPolicy:
        """The core's form of the retry settings."""
        return RetryPolicy(
            max_retries=self.retries if retries is None else retries,
            base_delay=self.backoff,
            max_delay=self.backoff_max,
            factor=self.backoff_factor,
            jitter=self.jitter,
        )


class Enqueueable(Generic[P, R]):
    """A task with options: what `enqueue` and its kin are made of."""

    _options: Options

    def __init__(self, options: Options) -> None:
        self._options = options

    def _task(self) -> Task[P, R]:
        raise NotImplementedError

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Validates the arguments and writes the job: durable when it returns.

        InvalidArguments or PayloadTooLarge: nothing was written. BrokerError: the broker failed.
        If the caller is cancelled while it waits, the job may have been written.
        """
        task = self._task()
        if self._options.transaction is not None:
            fields = task.job_fields(self._options, args, kwargs)
            connection = self._options.transaction
            new = NewJob(**fields)  # what is wrong is refused here, and not when it is moved
            if is_postgres(connection):
                return task._handle(await write_within(connection, task.jobs, new))
            await outbox.write(task.jobs, connection, fields)
            return task._handle(fields["id"])
        new = task.new_job(self._options, args, kwargs)
        return task._handle(*await task.jobs.write([new]))

    async def enqueue_many(self, calls: Iterable[Call]) -> list[Job[R]]:
        """Writes a job for each call, all or none, much faster than one by one.

        A call is a sequence of positional arguments or a mapping of keyword arguments.
        """
        task = self._task()
        ids = await task.jobs.write(task._new_jobs(self._options, calls))
        return [task._handle(id) for id in ids]

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """`enqueue` for code that is not async: blocks until the job is durable.

        Under a running event loop it blocks that loop for the time of one write, which is short
        on SQLite and may not be on other brokers: there, await `enqueue`.
        """
        task = self._task()
        if self._options.transaction is not None:
            fields = task.job_fields(self._options, args, kwargs)
            connection = self._options.transaction
            new = NewJob(**fields)  # what is wrong is refused here, and not when it is moved
            if is_postgres(connection):
                return task._handle(write_within_blocking(connection, task.jobs, new))
            outbox.write_blocking(task.jobs, connection, fields)
            return task._handle(fields["id"])
        new = task.new_job(self._options, args, kwargs)
        return task._handle(*task.jobs.write_blocking([new]))

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """The call as a value, to put in a `chain` or a `group`.

        The result of the step before it becomes its first argument, so leave that one out.
        """
        from pelton.jobs.workflow import Signature

        return Signature(self._task(), args, kwargs, self._options, immutable=False)

    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R]:
        """Like `s`, but complete: it waits for the step before it and ignores its result."""
        from pelton.jobs.workflow import Signature

        return Signature(self._task(), args, kwargs, self._options, immutable=True)

    def options(
        self,
        *,
        delay: Seconds | None = None,
        eta: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        key: str | None = None,
        timeout: Seconds | None = None,
        retries: int | None = None,
        expires: Seconds | datetime | None = None,
        id: str | None = None,
        key_ttl: Seconds | None = None,
        limit_key: str | None = None,
        headers: Mapping[str, Any] | None = None,
        transaction: Any = None,
    ) -> Configured[P, R]:
        """The same task with other options for the jobs enqueued through it: see `Options`."""
        options = Options(
            delay=delay,
            eta=eta,
            priority=priority,
            queue=queue,
            key=key,
            timeout=timeout,
            retries=retries,
            expires=expires,
            id=id,
            key_ttl=key_ttl,
            limit_key=limit_key,
            headers=headers,
            transaction=transaction,
        )
        return Configured(self._task(), options.over(self._options))


class Configured(Enqueueable[P, R]):
    """A task and the options of `task.options(...)`."""

    def __init__(self, task: Task[P, R], options: Options) -> None:
        super().__init__(options)
        self._of = task

    def _task(self) -> Task[P, R]:
        return self._of


class Task(Enqueueable[P, R]):
    """What `@jobs.task` makes of a function: it can be enqueued, and called as before.

    P are the parameters that callers pass: those of the function without a leading `JobContext`.
    """

    __name__: str

    def __init__(
        self,
        jobs: Jobs,
        fn: Callable[..., Any],
        name: str,
        settings: TaskSettings,
        names: Mapping[str, Any],
    ) -> None:
        super().__init__(_PLAIN)
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise InvalidTask(f"task {name}: a generator cannot be a task; return a list instead")
        is_async = inspect.iscoroutinefunction(fn)
        if is_async and settings.cpu:
            raise InvalidTask(f"task {name}: cpu=True is for `def` functions, this is `async def`")
        self.jobs = jobs
        self.fn = fn
        self.name = name
        self.settings = settings
        self.kind: Kind = "async" if is_async else "process" if settings.cpu else "thread"
        self._policy = settings.policy()
        self._budget = settings.retry_budget and RetryBudget(*settings.retry_budget)
        self._names = names
        # Not its attributes, which could hide ours.
        functools.update_wrapper(self, fn, updated=())

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def _task(self) -> Task[P, R]:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function here and now, no job involved.

        Where the function takes a JobContext and the call does not begin with one, it gets one
        that belongs to no job.
        """
        if self.arguments.takes_context and not (args and isinstance(args[0], JobContext)):
            args = (JobContext(task=self.name, queue=self.settings.queue), *args)
        return self.fn(*args, **kwargs)

    @functools.cached_property
    def arguments(self) -> Arguments:
        """The codec of its arguments; InvalidTask where an annotation cannot travel."""
        return Arguments(self.fn, self.name, self._hints)

    @functools.cached_property
    def returned(self) -> Result:
        """The codec of its result; InvalidTask where the annotation cannot travel."""
        return Result(self._hints.get("return", Any), self.name)

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        return annotations_of(self.fn, self.name, self._names)

    def apply_async(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        countdown: Seconds | None = None,
        eta: datetime | None = None,
        expires: Seconds | datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        key: str | None = None,
        timeout: Seconds | None = None,
        retries: int | None = None,
        task_id: str | None = None,
    ) -> Job[R]:
        """Celery's form: blocks until the job is durable, like `delay`.

        `countdown` is `Options.delay`, `task_id` is `Options.id`; the others are as there.
        """
        options = Options(
            delay=countdown,
            eta=eta,
            expires=expires,
            priority=priority,
            queue=queue,
            key=key,
            timeout=timeout,
            retries=retries,
            id=task_id,
        )
        new = self.new_job(options, args, kwargs or {})
        return self._handle(*self.jobs.write_blocking([new]))

    def new_job(
        self,
        options: Options,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        shape: Shape | None = None,
        group: str | None = None,
    ) -> NewJob:
        """The job of one call, validated but not written; `shape` says how inputs come in."""
        return NewJob(**self.job_fields(options, args, kwargs, shape=shape, group=group))

    def job_fields(
        self,
        options: Options,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        shape: Shape | None = None,
        group: str | None = None,
    ) -> dict[str, Any]:
        """What `new_job` makes the job of."""
        payload = self.arguments.encode(args, kwargs, shape)
        limit = self.jobs.payload_limit
        if len(payload) > limit:
            raise PayloadTooLarge(
                f"{self.name}: the arguments are {len(payload)} bytes of JSON, above the limit of "
                f"{limit}; store the data elsewhere and send its name (or raise "
                "Jobs(payload_limit=…))"
            )
        settings = self.settings
        headers = capture(
            self.jobs.context,
            settings.version,
            self.jobs.new_headers(self.name, options.headers),
        )
        if options is _PLAIN:
            return {
                "id": new_job_id(),
                "task": self.name,
                "payload": payload,
                "queue": settings.queue,
                "priority": settings.priority,
                "timeout": settings.timeout,
                "retry": self._policy,
                "result_ttl": settings.result_ttl,
                "group": group,
                "headers": headers,
            }
        now = time.time()
        return {
            "id": options.id or new_job_id(),
            "task": self.name,
            "payload": payload,
            "queue": options.queue or settings.queue,
            "priority": settings.priority if options.priority is None else options.priority,
            "run_at": options.run_at(now),
            "expires_at": options.expires_at(now),
            "key": options.key,
            "timeout": settings.timeout
            if options.timeout is None
            else seconds(options.timeout, "timeout"),
            "retry": self._policy if options.retries is None else settings.policy(options.retries),
            "result_ttl": settings.result_ttl,
            "group": group,
            "headers": headers,
            "limit_key": options.limit_key,
            "key_ttl": None if options.key_ttl is None else seconds(options.key_ttl, "key_ttl"),
        }

    def wants_retry(self, error: BaseException) -> bool:
        """Whether another attempt may help, by `retry_on` and `give_up_on`."""
        if isinstance(error, Retry):
            return True
        if isinstance(error, self.settings.give_up_on):
            return False
        if self.settings.retry_on is not None and not isinstance(error, self.settings.retry_on):
            return False
        return self._budget is None or self._budget.spend()

    def upgraded(self, payload: bytes, version: Any) -> bytes:
        """A payload of an older version as one of this; InvalidArguments."""
        newest = self.settings.version
        if version == newest:
            return payload
        upgrade = self.settings.upgrade
        if not isinstance(version, int) or version > newest or upgrade is None:
            raise InvalidArguments(
                f"{self.name}: the payload is of version {version!r}, this worker knows {newest}: "
                + ("a newer worker may run it" if upgrade else "give the task upgrade=")
            )
        values = json.loads(payload)
        values["args"] = dict(upgrade(values["args"], version))
        return json.dumps(values).encode()

    def _new_jobs(self, options: Options, calls: Iterable[Call]) -> list[NewJob]:
        if options.transaction is not None:
            raise ValueError("enqueue_many writes to the broker: in a transaction, one by one")
        if options.id is not None or options.key is not None:
            raise ValueError("an id or a key is for one job; enqueue_many cannot use it")
        new = []
        for number, call in enumerate(calls):
            if isinstance(call, Mapping):
                new.append(self.new_job(options, (), call))
            elif isinstance(call, Sequence) and not isinstance(call, str | bytes | bytearray):
                new.append(self.new_job(options, call, {}))
            else:
                raise TypeError(
                    f"enqueue_many: call {number} is {type(call).__name__}; each call is a tuple "
                    "of positional arguments or a dict of keyword arguments, such as (1,)"
                )
        return new

    def _handle(self, id: str) -> Job[R]:
        return Job(self.jobs, id, self.name)


class AsyncTask(Task[P, R]):
    """The task of an `async def` function."""

    if TYPE_CHECKING:

        async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
            """Calls the function here and now, no job involved."""
            raise NotImplementedError


class SyncTask(Task[P, R]):
    """The task of a `def` function: run in a thread, or with `cpu=True` in a process."""

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
            """Calls the function here and now, no job involved."""
            raise NotImplementedError
