"""Durable jobs: functions that run later, elsewhere, at least once, and are not lost.

`Jobs` holds a program's tasks and its broker; `@jobs.task` makes a function a task; `await
task.enqueue(...)` writes a job, and a `Job` follows it. `pelton worker APP` runs them, and
`pelton scheduler APP` (or `pelton run APP`, which does all) enqueues those that have a time.
"""

from pelton._core import BrokerError, JobRecord, new_job_id
from pelton.jobs.context import JobContext
from pelton.jobs.errors import (
    InvalidArguments,
    InvalidResult,
    InvalidTask,
    JobCancelled,
    JobError,
    JobFailed,
    JobNotFound,
    PayloadTooLarge,
    Retry,
)
from pelton.jobs.job import Job, State
from pelton.jobs.jobs import Jobs, instances
from pelton.jobs.options import Options
from pelton.jobs.scheduler import Scheduler, serve_scheduler
from pelton.jobs.task import Task
from pelton.jobs.worker import Worker, serve_worker
from pelton.jobs.workflow import Chain, Group, GroupJob, Signature, chain, chord, group

__all__ = [
    "BrokerError",
    "Chain",
    "Group",
    "GroupJob",
    "InvalidArguments",
    "InvalidResult",
    "InvalidTask",
    "Job",
    "JobCancelled",
    "JobContext",
    "JobError",
    "JobFailed",
    "JobNotFound",
    "JobRecord",
    "Jobs",
    "Options",
    "PayloadTooLarge",
    "Retry",
    "Scheduler",
    "Signature",
    "State",
    "Task",
    "Worker",
    "chain",
    "chord",
    "group",
    "instances",
    "new_job_id",
    "serve_scheduler",
    "serve_worker",
]
