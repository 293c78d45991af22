"""Work that follows a response: in the same process, or kept by jobs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, overload

from starlette.background import BackgroundTask
from starlette.background import BackgroundTasks as StarletteBackgroundTasks

from .telemetry.hooks import operation

if TYPE_CHECKING:
    from pelton._core import NewJob
    from pelton.jobs import Job, Jobs
    from pelton.jobs.task import Enqueueable

P = ParamSpec("P")


class BackgroundTasks(StarletteBackgroundTasks):
    """Functions to call once the response is sent, in order; a failure ends the series.

    Declare an argument of this type. With ``durable=True`` a task of `pelton.jobs` becomes a job
    instead: it is written before the response is sent, and outlives the process.
    """

    def __init__(self, tasks: Sequence[BackgroundTask] | None = None) -> None:
        super().__init__(tasks)
        self._uncommitted: list[tuple[Jobs, NewJob, Job[Any]]] = []

    @overload
    def add_task(
        self, func: Callable[..., Any], *args: Any, durable: Literal[True], **kwargs: Any
    ) -> Job[Any]: ...
    @overload
    def add_task(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None: ...

    def add_task(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Adds a call of `func`, which may be ``async def`` or (run in a thread) ``def``.

        ``durable=True``: `func` is a ``@jobs.task``, or one with ``.options(…)``. The arguments are
        checked at once, against its annotations (`InvalidArguments`), and the job's handle is
        returned; the job itself is written when the endpoint has returned, so that an endpoint
        that raises leaves none. If it cannot be written the response is a 500.
        """
        if kwargs.get("durable") is True and not _has_parameter(func, "durable"):
            del kwargs["durable"]
            return self._add_durable(func, args, kwargs)
        super().add_task(_callable(func), *args, **kwargs)
        return None

    def _add_durable(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job[Any]:
        task = _task_of(func)
        if task is None:
            name = getattr(func, "__qualname__", repr(func))
            raise TypeError(
                f"add_task({name}, durable=True): a durable task must be known to workers by a "
                f"name. Declare {name} with @jobs.task, where `jobs = Jobs()` is the app's: "
                "FastAPI(jobs=jobs)"
            )
        new = task._task().new_job(task._options, args, kwargs)
        jobs = task._task().jobs
        handle = task._task()._handle(new.id)
        self._uncommitted.append((jobs, new, handle))
        return handle

    @property
    def is_uncommitted(self) -> bool:
        """Whether there are durable tasks that are not yet written."""
        return bool(self._uncommitted)

    async def commit(self) -> None:
        """Writes the durable tasks, those of one `Jobs` all or none; done before the response.

        Raises `BrokerError` where they cannot be written.
        """
        added, self._uncommitted = self._uncommitted, []
        for jobs in {id(jobs): jobs for jobs, _, _ in added}.values():
            mine = [(new, handle) for owner, new, handle in added if owner is jobs]
            ids = await jobs.write([new for new, _ in mine])
            for (_, handle), written in zip(mine, ids, strict=True):
                # Where a key was taken, it is the job that has the key.
                handle.id = written

    async def __call__(self) -> None:
        """Runs the tasks; durable ones are only written, if they were not."""
        if self._uncommitted:
            await self.commit()
        for task in self.tasks:
            with operation("background_task", task.func):
                await task()


async def commit_tasks(tasks: BackgroundTask | None) -> None:
    """Writes the durable tasks among a response's, before it is sent."""
    if isinstance(tasks, BackgroundTasks) and tasks.is_uncommitted:
        await tasks.commit()


def _task_of(func: Any) -> Enqueueable[..., Any] | None:
    """`func` if it is a task of `pelton.jobs`, which is imported only by those who have jobs."""
    if not hasattr(type(func), "enqueue"):
        return None
    from pelton.jobs.task import Enqueueable

    return func if isinstance(func, Enqueueable) else None


def _callable(func: Any) -> Any:
    """What Starlette can call: it would take the task of an ``async def`` for a ``def``."""
    task = _task_of(func)
    if task is None or task._task().kind != "async":
        return func

    async def call(*args: Any, **kwargs: Any) -> Any:
        return await task._task()(*args, **kwargs)

    call.__module__, call.__qualname__ = task._task().fn.__module__, task._task().fn.__qualname__
    return call


def _has_parameter(func: Any, name: str) -> bool:
    """Whether the function itself takes an argument of this name, or any."""
    task = _task_of(func)
    try:
        parameters = inspect.signature(func if task is None else task._task().fn).parameters
    except (TypeError, ValueError):
        return False
    takes_any = inspect.Parameter.VAR_KEYWORD in {item.kind for item in parameters.values()}
    return name in parameters or (task is None and takes_any)
