"""What goes wrong with jobs, and how a task asks for another attempt."""

from __future__ import annotations

from datetime import timedelta

from pelton.jobs.options import seconds


class JobError(Exception):
    """The root of every error that `pelton.jobs` raises on its own account."""


class InvalidArguments(JobError, TypeError, ValueError):
    """Arguments that do not fit the task's signature; nothing was enqueued.

    A worker raises it too, where a payload was written by another version of the task. It is both
    a TypeError and a ValueError, since a call can be wrong in either way.
    """


class InvalidTask(JobError, TypeError, ValueError):
    """A task or schedule that cannot be: its function, its annotations, or a name used twice.

    Annotations are resolved at the first use of a task, and by a worker before it begins.
    """


class PayloadTooLarge(JobError, ValueError):
    """Arguments or a result above the payload limit of their `Jobs` object.

    Put the data where both sides can reach it (a file, a bucket, a row), and send its name.
    """


class InvalidResult(JobError, TypeError):
    """A result that is not what the task's annotation says, or that JSON cannot hold.

    The job is dead at once: another attempt would only repeat the work.
    """


class LeaseLost(JobError):
    """The job runs elsewhere by now: what this attempt does counts no more."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the lease of job {job_id} is lost: another attempt has taken over")
        self.job_id = job_id


class SoftTimeout(JobError, TimeoutError):
    """The attempt took longer than its task's soft timeout, and may still tidy up.

    Raised inside a `cpu=True` task; an `async` task is cancelled instead, and a `def` task in a
    thread has to look at `ctx.cancelled`.
    """

    def __init__(self, task: str = "", seconds: float = 0.0) -> None:
        super().__init__(f"{task} took longer than its soft timeout of {seconds:g} s")


class JobNotFound(JobError, LookupError):
    """No job has this id: it never existed, or its result's time to live is over."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id!r}: wrong id, or its result has expired")
        self.job_id = job_id


class JobFailed(JobError):
    """The job is dead: it failed for good.

    `type` is the qualified name of the exception that the last attempt raised, `message` its
    text, `traceback` the worker's traceback as text.
    """

    def __init__(self, job_id: str, task: str, type: str, message: str, traceback: str) -> None:
        super().__init__(f"job {job_id} ({task}) failed: {type}: {message}")
        self.job_id = job_id
        self.task = task
        self.type = type
        self.message = message
        self.traceback = traceback


class JobCancelled(JobError):
    """The job was cancelled, or expired before it began; `reason` says which."""

    def __init__(self, job_id: str, task: str, reason: str) -> None:
        super().__init__(f"job {job_id} ({task}) was cancelled" + (f": {reason}" if reason else ""))
        self.job_id = job_id
        self.task = task
        self.reason = reason


class Retry(Exception):
    """Raised by a task: this attempt did not work, try again.

    `delay` (seconds, or a timedelta) replaces the retry policy's delay. The attempt counts: when
    the task has no retries left, the job is dead. `retry_on` and `give_up_on` do not apply.
    """

    def __init__(self, message: str = "", *, delay: float | timedelta | None = None) -> None:
        super().__init__(message)
        self.delay = None if delay is None else seconds(delay, "delay")
