"""What a running job knows about itself."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from typing import Any

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
        "attempt",
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
    ) -> None:
        self.id = id
        self.task = task
        self.queue = queue
        self.attempt = attempt
        self.max_retries = max_retries
        self._report = report
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
