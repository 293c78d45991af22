"""Durable jobs: functions that run later, elsewhere, at least once, and are not lost.

`Jobs` holds a program's tasks and its broker; `@jobs.task` makes a function a task; `await
task.enqueue(...)` writes a job, and a `Job` follows it. `pelton worker APP` runs them, and
`pelton scheduler APP` (or `pelton run APP`, which does all) enqueues those that have a time.
"""

from pelton._core import AttemptRecord, BrokerError, JobRecord, LimitRecord, new_job_id
from pelton.jobs.context import JobContext
from pelton.jobs.errors import (
    InvalidArguments,
    InvalidResult,
    InvalidTask,
    JobCancelled,
    JobError,
    JobFailed,
    JobNotFound,
    LeaseLost,
    PayloadTooLarge,
    Retry,
    SoftTimeout,
)
from pelton.jobs.events import JobEvent
from pelton.jobs.job import Job, State
from pelton.jobs.jobs import Jobs, instances
from pelton.jobs.options import Options
from pelton.jobs.outbox import Relay
from pelton.jobs.scheduler import Scheduler, serve_scheduler
from pelton.jobs.task import Task
from pelton.jobs.worker import Worker, run_ready, serve_worker
from pelton.jobs.workflow import (
    Chain,
    Graph,
    Group,
    GroupJob,
    Signature,
    WorkflowJob,
    chain,
    chord,
    chunks,
    group,
    map_,
    starmap,
)

__all__ = [
    "AttemptRecord",
    "BrokerError",
    "Chain",
    "Graph",
    "Group",
    "GroupJob",
    "InvalidArguments",
    "InvalidResult",
    "InvalidTask",
    "Job",
    "JobCancelled",
    "JobContext",
    "JobError",
    "JobEvent",
    "JobFailed",
    "JobNotFound",
    "JobRecord",
    "Jobs",
    "LeaseLost",
    "LimitRecord",
    "Options",
    "PayloadTooLarge",
    "Relay",
    "Retry",
    "Scheduler",
    "Signature",
    "SoftTimeout",
    "State",
    "Task",
    "Worker",
    "WorkflowJob",
    "chain",
    "chord",
    "chunks",
    "group",
    "instances",
    "map_",
    "new_job_id",
    "run_ready",
    "serve_scheduler",
    "serve_worker",
    "starmap",
]
