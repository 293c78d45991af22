"""What a running job knows about itself."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from pelton.jobs.options import SECONDS_MAX, seconds

if TYPE_CHECKING:
    from pelton.jobs.steps import Steps

P = ParamSpec("P")
R = TypeVar("R")

_LOGGER = logging.getLogger("pelton.jobs")


class JobContext:
    """The first parameter of a task that is annotated with this class; callers do not pass it.

    It belongs to one attempt. `attempt` is 1 for the first; the job is tried at most
    `max_retries + 1` times. A task called as a plain function gets a context with `id` "" whose
    progress goes nowhere.
    """

    __slots__ = (
        "_cancelled",
        "_logger",
        "_report",
        "_steps",
        "attempt",
        "headers",
        "id",
        "max_retries",
        "queue",
        "task",
    )

    def __init__(
        self,
        *,
        id: str = "",
        task: str = "",
        queue: str = "",
        attempt: int = 1,
        max_retries: int = 0,
        report: Callable[[float, str | None], None] | None = None,
        headers: Mapping[str, Any] | None = None,
        steps: tuple[Any, Any, int] | None = None,
    ) -> None:
        self.id = id
        self.task = task
        self.queue = queue
        self.attempt = attempt
        self.max_retries = max_retries
        self.headers: Mapping[str, Any] = headers or {}
        self._report = report
        # The steps of most jobs are never asked for: what they are made of, until they are.
        self._steps: Steps | tuple[Any, Any, int] | None = steps
        self._cancelled = False
        self._logger: _JobLogger | None = None

    def progress(self, fraction: float, message: str | None = None) -> Awaitable[None]:
        """Tells whoever watches the job how far it is: `fraction` from 0 to 1.

        It returns at once, so `await ctx.progress(...)` and plain `ctx.progress(...)` do the same;
        use the latter in a `def` task. Only the newest value is kept, and written some 20 times a
        second at most. ValueError where the fraction is out of range.
        """
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"progress is a fraction from 0 to 1, not {fraction!r}")
        if self._report is not None:
            self._report(fraction, message)
        return _DONE

    @overload
    async def step(
        self, name: str, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def step(
        self, name: str, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    async def step(self, name: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Calls `fn`, and keeps its result: a later attempt gets that, and does not call again.

        The result travels as JSON, by the return annotation of `fn`, and comes back so the first
        time too. A step that was under way when its worker died is repeated: make what it does
        idempotent (by `ctx.id`, say). A name that comes again is another step, by its order. A
        task that is called as a plain function has no job: its steps are just called. Not in
        `cpu=True` tasks; `def` tasks use `run_step`.
        """
        if (steps := self._known_steps()) is None:
            self._need_no_job("step")
            value = fn(*args, **kwargs)
            return await value if isinstance(value, Awaitable) else value
        return await steps.step(name, fn, args, kwargs)

    def run_step(self, name: str, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """`step` for a `def` task in a thread."""
        if (steps := self._known_steps()) is None:
            self._need_no_job("run_step")
            return fn(*args, **kwargs)
        value: R = steps.step_blocking(name, fn, args, kwargs)
        return value

    async def sleep(self, duration: float | timedelta) -> None:
        """Rests, without holding a worker: the attempt ends here, and the function runs again
        from its beginning when the time has come, with its finished steps kept.

        A negative duration is 0. `finally` blocks run; do not catch BaseException around it. Only
        in `async` tasks.
        """
        rest = max(seconds(duration, "sleep", least=-SECONDS_MAX), 0.0)
        if (steps := self._known_steps()) is None:
            self._need_no_job("sleep")
            return
        await steps.sleep(rest)

    async def wait_signal(self, name: str, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """The value of the next signal of this name, see `Job.signal`; rests until it came.

        Each call takes one signal; those that came before count. TimeoutError where none came
        within `timeout` seconds of the first call; an attempt that fails by it is followed by one
        that waits again. Only in `async` tasks.
        """
        if timeout is not None:
            timeout = max(seconds(timeout, "timeout", least=-SECONDS_MAX), 0.0)
        if (steps := self._known_steps()) is None:
            raise RuntimeError("wait_signal: there is no job that a signal could be sent to")
        return await steps.wait_signal(name, timeout)

    def _known_steps(self) -> Steps | None:
        if isinstance(self._steps, tuple):
            from pelton.jobs.steps import Steps

            self._steps = Steps(*self._steps)
        return self._steps

    def _need_no_job(self, what: str) -> None:
        if self.id:
            raise RuntimeError(
                f"ctx.{what} is not for cpu=True tasks: their process has no broker; call the "
                "pool task from an async one"
            )

    @property
    def cancelled(self) -> bool:
        """Whether this attempt should end: cancelled, timed out, lost or its worker stops.

        An `async` task gets `asyncio.CancelledError` as well, and a `cpu=True` task is killed; a
        `def` task in a thread has to look, and to return.
        """
        return self._cancelled

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """The logger `pelton.jobs`, with the job's id, task and attempt in each record.

        They stand before the message, and as `job_id`, `job_task` and `job_attempt` on the record.
        """
        if self._logger is None:
            self._logger = _JobLogger(self)
        return self._logger

    def _cancel(self) -> None:
        self._cancelled = True


class _JobLogger(logging.LoggerAdapter[logging.Logger]):
    def __init__(self, context: JobContext) -> None:
        super().__init__(
            _LOGGER,
            {
                "job_id": context.id,
                "job_task": context.task,
                "job_attempt": context.attempt,
            },
        )
        self._prefix = f"{context.task}[{context.id}] attempt {context.attempt}: "

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return self._prefix + str(msg), kwargs


class _Done:
    """An awaitable that is done: lets one method serve `async def` and `def` tasks."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


_DONE = _Done()
