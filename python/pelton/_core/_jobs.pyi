"""Jobs: as they are written, leased and ended, and as they are read back."""

from __future__ import annotations

from typing import Literal, final

State = Literal[
    "waiting",  # for the jobs it depends on
    "scheduled",  # for its time: delayed, or between two attempts
    "queued",
    "running",
    "succeeded",
    "dead",  # failed for good: the dead-letter state
    "cancelled",
]

@final
class RetryPolicy:
    """How often and when a failed job runs again. Backoff is exponential with full jitter.

    The delay before attempt n+1 is uniform in [0, min(max_delay, base_delay * factor**(n-1))]
    with jitter, and the upper bound itself without.
    """

    def __new__(
        cls,
        *,
        max_retries: int = 3,
        base_delay: float = 1.0,
        max_delay: float = 600.0,
        factor: float = 2.0,
        jitter: bool = True,
    ) -> RetryPolicy: ...
    max_retries: int
    base_delay: float
    max_delay: float
    factor: float
    jitter: bool

@final
class NewJob:
    """A job to be written. `id` is made by the caller (`new_job_id`)."""

    def __new__(
        cls,
        *,
        id: str,
        task: str,
        payload: bytes,
        queue: str = "default",
        priority: int = 0,  # larger runs first, on every broker; -100 to 100
        run_at: float | None = None,
        expires_at: float | None = None,  # not started by then: cancelled with reason "expired"
        key: str | None = None,  # at most one unfinished job has a given key
        timeout: float | None = None,  # seconds per attempt
        retry: RetryPolicy | None = None,
        result_ttl: float = 86_400.0,
        group: str | None = None,  # members of one workflow share it
        headers: bytes | None = None,  # ride along, never looked into
        limit_key: str | None = None,  # whose share of the task's limit for each key it uses
        key_ttl: float | None = None,  # seconds for which `key` stays taken, ended or not
    ) -> NewJob: ...
    id: str
    task: str
    queue: str
    def columns(self) -> dict[str, str | int | float | None]:
        """As the function `pelton_enqueue` of a PostgreSQL broker takes it."""

def new_job_id() -> str:
    """A UUID version 7 as 32 hexadecimal digits: sorts by time of creation."""

@final
class Edge:
    """`child` waits for `parent`, and gets its result at `position` of its `inputs`.

    `on_failure`: it waits for the first of its parents that is dead or cancelled, and gets a JSON
    object with `job`, `state`, `reason` and `error` instead; it is cancelled when all succeeded.
    """

    def __new__(
        cls, parent: str, child: str, position: int = 0, *, on_failure: bool = False
    ) -> Edge: ...

@final
class LeasedJob:
    """A job that this worker may run, once, while it holds the lease."""

    id: str
    task: str
    queue: str
    payload: bytes
    attempt: int  # 1 for the first
    token: int  # the fence: outcomes with an older token are refused
    max_retries: int
    timeout: float | None
    inputs: list[bytes]  # results of the jobs it waited for, by position
    key: str | None
    group: str | None
    created_at: float
    headers: bytes | None

@final
class Outcome:
    """How an attempt ended."""

    @staticmethod
    def success(job: LeasedJob, result: bytes) -> Outcome: ...
    @staticmethod
    def failure(
        job: LeasedJob, error: bytes, *, retry: bool = True, delay: float | None = None
    ) -> Outcome:
        """`error`: JSON object with `type`, `message`, `traceback`. `retry=False`: dead at once.
        `delay`: seconds to the next attempt instead of the policy's (still counted as a retry)."""
    @staticmethod
    def cancelled(job: LeasedJob, reason: str) -> Outcome: ...
    @staticmethod
    def release(job: LeasedJob) -> Outcome:
        """Back to its queue, not run (a worker that stops): the attempt does not count."""
    @staticmethod
    def suspend(
        job: LeasedJob, *, until: float | None = None, signal: str | None = None
    ) -> Outcome:
        """Aside until a time (None: for ever), or until the signal came: at once where it came
        before. The attempt goes on then, with all its steps."""

@final
class Settled:
    """What the broker made of an outcome."""

    id: str
    state: State | Literal["stale"]  # stale: the lease was lost, and nothing was changed
    run_at: float | None  # of the next attempt, where there is one

@final
class JobRecord:
    """A job as the broker knows it."""

    id: str
    task: str
    queue: str
    state: State
    priority: int
    attempt: int  # attempts begun
    max_retries: int
    created_at: float
    run_at: float | None
    started_at: float | None
    finished_at: float | None
    timeout: float | None
    key: str | None
    group: str | None
    worker: str | None
    progress: float | None  # 0 to 1
    message: str | None  # of the progress
    reason: str | None  # why cancelled or dead
    payload: bytes
    result: bytes | None
    error: bytes | None  # of the last failed attempt
    cancel_requested: bool
    version: int  # grows with each change that `watch` should see
    headers: bytes | None
    limit_key: str | None
    signal: str | None  # that it waits for

@final
class AttemptRecord:
    """An attempt that did not succeed."""

    attempt: int
    token: int
    worker: str | None
    started_at: float | None
    ended_at: float
    end: str  # "failed", "lost" (its worker went away) or "cancelled"
    error: bytes | None
