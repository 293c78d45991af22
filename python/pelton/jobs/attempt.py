"""One attempt at a job, wherever it runs: its arguments in, its result or failure out."""

from __future__ import annotations

import asyncio
import functools
import json
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pelton._core import LeasedJob
from pelton.jobs.context import JobContext
from pelton.jobs.errors import InvalidArguments, InvalidResult, PayloadTooLarge, Retry, SoftTimeout
from pelton.jobs.headers import enter
from pelton.jobs.steps import Suspended
from pelton.jobs.task import Task

MESSAGE_LIMIT = 8 * 1024
TRACEBACK_LIMIT = 32 * 1024
"""Characters of an error's message and traceback that are kept; of a traceback the last ones."""

Verdict = Literal["cancel", "timeout", "stop", "lost"]
"""Why a worker ends an attempt before it ended by itself."""


class Failure(NamedTuple):
    """An attempt that failed. `error` is the core's JSON; `retry=False` means dead at once."""

    error: bytes
    retry: bool = True
    delay: float | None = None
    summary: str = ""  # for the log


class Rest(NamedTuple):
    """An attempt that goes on later."""

    until: float | None
    signal: str | None


class Attempt:
    """An attempt that a worker holds the lease of."""

    __slots__ = ("context", "handle", "job", "overdue", "soft_timer", "task", "timer", "verdict")

    def __init__(self, job: LeasedJob, task: Task[..., Any], context: JobContext) -> None:
        self.job = job
        self.task = task
        self.context = context
        self.handle: Any = None  # what its executor knows it by
        self.timer: asyncio.TimerHandle | None = None
        self.soft_timer: asyncio.TimerHandle | None = None
        self.overdue = False  # past its soft timeout
        self.verdict: Verdict | None = None

    def stop_timer(self) -> None:
        """The attempt ended in time."""
        for timer in (self.timer, self.soft_timer):
            if timer is not None:
                timer.cancel()
        self.timer = self.soft_timer = None


def decode(
    task: Task[..., Any], payload: bytes, inputs: Sequence[bytes], headers: Mapping[str, Any]
) -> dict[str, Any]:
    """The values to call the task with; InvalidArguments."""
    return task.arguments.decode(task.upgraded(payload, headers.get("v", 1)), inputs)


def encode(task: Task[..., Any], value: Any) -> bytes:
    """The result as JSON; InvalidResult or PayloadTooLarge."""
    result = task.returned.encode(value)
    if len(result) > task.jobs.payload_limit:
        raise PayloadTooLarge(
            f"{task.name} returned {len(result)} bytes of JSON, above the limit of "
            f"{task.jobs.payload_limit}; store the data elsewhere and return its name"
        )
    return result


def run_blocking(
    task: Task[..., Any], context: JobContext, payload: bytes, inputs: Sequence[bytes]
) -> bytes | Failure | Rest:
    """Runs a `def` task in this thread; every exception becomes a Failure."""
    try:
        if context.headers:
            enter(dict(context.headers), task.jobs.context)
        values = decode(task, payload, inputs, context.headers)
        call = functools.partial(task.arguments.call, context, values)
        for middleware in reversed(task.jobs.blocking_middleware):
            call = functools.partial(middleware, context, call)
        return encode(task, call())
    except Suspended as rest:
        return Rest(rest.until, rest.signal)
    except BaseException as error:
        return failure(task, error)


def failure(task: Task[..., Any], error: BaseException) -> Failure:
    """What an exception means for the job."""
    retry = not isinstance(error, InvalidArguments | InvalidResult | PayloadTooLarge)
    delay = error.delay if isinstance(error, Retry) else None
    return failed(
        _type_name(error),
        str(error),
        "".join(traceback.format_exception(error)),
        retry=retry and task.wants_retry(error),
        delay=delay,
    )


def overdue(task: Task[..., Any]) -> Failure:
    """An async task that ended because its soft timeout was over."""
    return failure(task, SoftTimeout(task.name, task.settings.soft_timeout or 0.0))


def failed(
    type: str, message: str, traceback: str = "", *, retry: bool = True, delay: float | None = None
) -> Failure:
    """A failure with the core's form of its error."""
    if len(traceback) > TRACEBACK_LIMIT:
        traceback = "…" + traceback[-TRACEBACK_LIMIT:]
    error = {"type": type, "message": message[:MESSAGE_LIMIT], "traceback": traceback}
    # Surrogates (of undecodable file names, say) are not UTF-8: json writes them escaped.
    return Failure(json.dumps(error).encode(), retry, delay, f"{type}: {message}"[:MESSAGE_LIMIT])


def _type_name(error: BaseException) -> str:
    kind = type(error)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
