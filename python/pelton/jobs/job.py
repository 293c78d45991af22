"""The handle of one job."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from pelton._core import AttemptRecord, JobRecord
from pelton.jobs.errors import JobCancelled, JobFailed, JobNotFound
from pelton.jobs.options import patience

if TYPE_CHECKING:
    from pelton.jobs.jobs import Jobs


R = TypeVar("R")

State = Literal["waiting", "scheduled", "queued", "running", "succeeded", "dead", "cancelled"]
"""waiting: for other jobs; scheduled: for its time, or between two attempts; dead: failed for good.
"""

ENDED: frozenset[State] = frozenset({"succeeded", "dead", "cancelled"})
"""The states that a job leaves only by `retry`."""

_WATCH_SECONDS = 30.0  # one watch; the next begins where it ended


class Job(Generic[R]):
    """A job that was enqueued: ask for its state, wait for its result, cancel it.

    A handle holds no connection and no state: it may be made in any process by `jobs.job(id)`,
    and it may be dropped. Its methods belong to async code; `get` waits from other threads.
    """

    __slots__ = ("_jobs", "id", "task")

    def __init__(self, jobs: Jobs, id: str, task: str) -> None:
        self._jobs = jobs
        self.id = id
        self.task = task

    def __repr__(self) -> str:
        return f"<Job {self.id} of {self.task}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    async def info(self) -> JobRecord:
        """All that the broker knows of it; JobNotFound if nothing."""
        return await self._jobs.record(self.id)

    async def status(self) -> State:
        """`waiting`, `scheduled`, `queued`, `running`, `succeeded`, `dead` or `cancelled`."""
        return (await self.info()).state

    async def result(self, timeout: float | None = None) -> R:  # noqa: ASYNC109
        """Waits until the job has ended, and gives what its task returned.

        Raises JobFailed, JobCancelled, JobNotFound, or TimeoutError after `timeout` seconds (None:
        wait for ever). Giving up, by a timeout or by cancellation, leaves the job as it is.
        """
        wanted = patience(timeout)
        deadline = None if wanted is None else time.monotonic() + wanted
        version = -1
        while True:
            wait = _WATCH_SECONDS
            if deadline is not None:
                wait = min(wait, max(0.0, deadline - time.monotonic()))
            record = await self._jobs.watch(self.id, version, wait)
            if record is not None:
                if record.state in ENDED:
                    return self._value(record)
                version = record.version
            elif version < 0:
                raise JobNotFound(self.id)
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"job {self.id} ({self.task}) had not ended after {timeout} s")

    def get(self, timeout: float | None = None) -> R:
        """`result` for code that is not async; it blocks the thread, so not in a running loop."""
        return run_blocking_here(self.result(timeout))

    async def cancel(self, reason: str = "") -> bool:
        """Asks for its end; False if it has ended already (or is unknown).

        A job that does not run ends at once, with those that wait for it. A running one is told:
        an `async` task gets CancelledError at its next await, a `cpu=True` process is killed, a
        `def` task in a thread has to look at `ctx.cancelled`.
        """
        return await self._jobs.cancel(self.id, reason)

    async def signal(self, name: str, value: Any = None) -> bool:
        """Sends it a JSON value that `ctx.wait_signal(name)` gives; False if it has ended.

        Signals wait for the job, each is taken once. One sent twice (a caller that tried again)
        comes twice.
        """
        return await self._jobs.signal(self.id, name, value)

    async def history(self) -> list[AttemptRecord]:
        """Its attempts that did not succeed, oldest first: at most the newest 50."""
        return await self._jobs.history(self.id)

    async def retry(self) -> bool:
        """Runs it again, if it is dead or cancelled; its finished steps are kept."""
        return await self._jobs.retry(self.id)

    async def updates(self) -> AsyncIterator[JobRecord]:
        """Its record now, and again after changes of state or progress, up to its end.

        Fast changes are skipped over; the last state never is. JobNotFound if there is no such
        job.
        """
        version = -1
        while True:
            record = await self._jobs.watch(self.id, version, _WATCH_SECONDS)
            if record is None:
                if version < 0:
                    raise JobNotFound(self.id)
                await self.info()
                continue
            version = record.version
            yield record
            if record.state in ENDED:
                return

    def _value(self, record: JobRecord) -> R:
        if record.state == "succeeded":
            value: R = self._jobs.decode_result(record.task, record.result or b"null")
            return value
        if record.state == "cancelled":
            raise JobCancelled(self.id, record.task, record.reason or "")
        error: dict[str, Any] = json.loads(record.error or b"{}")
        raise JobFailed(
            self.id,
            record.task,
            error.get("type", "unknown"),
            error.get("message", record.reason or ""),
            error.get("traceback", ""),
        )


def run_blocking_here(result: Coroutine[Any, Any, R]) -> R:
    """Runs a coroutine in a loop of its own; RuntimeError where it would block a loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(result)
    result.close()
    raise RuntimeError("get() would block the event loop: `await job.result()` instead")
