"""The broker's records as JSON for the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pelton._core import (
        AttemptRecord,
        JobRecord,
        LimitRecord,
        QueueRecord,
        ScheduleRecord,
        WorkerRecord,
    )

DATA_LIMIT = 1 << 16
"""Bytes of a payload, result or error that the page shows."""


def job_row(job: JobRecord) -> dict[str, Any]:
    """What the list shows of a job."""
    return {
        "id": job.id,
        "task": job.task,
        "queue": job.queue,
        "state": job.state,
        "attempt": job.attempt,
        "max_retries": job.max_retries,
        "created_at": job.created_at,
        "run_at": job.run_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "progress": job.progress,
        "message": job.message,
        "cancel_requested": job.cancel_requested,
    }


def job_detail(job: JobRecord, attempts: Sequence[AttemptRecord] = ()) -> dict[str, Any]:
    """All that is known of a job."""
    return job_row(job) | {
        "priority": job.priority,
        "timeout": job.timeout,
        "key": job.key,
        "group": job.group,
        "worker": job.worker,
        "reason": job.reason,
        "payload": _data(job.payload),
        "result": _data(job.result),
        "error": _data(job.error),
        "headers": _data(job.headers),
        "limit_key": job.limit_key,
        "signal": job.signal,
        "history": history(job, attempts),
    }


def history(job: JobRecord, attempts: Sequence[AttemptRecord] = ()) -> list[dict[str, Any]]:
    """What happened to a job, as far as its record tells, oldest first: `at` and `what`."""
    steps: list[tuple[float | None, str]] = [(job.created_at, "enqueued")]
    for attempt in attempts:
        by = f" by {attempt.worker}" if attempt.worker else ""
        said = _data(attempt.error)
        if attempt.started_at is not None:
            steps.append((attempt.started_at, f"attempt {attempt.attempt} began{by}"))
        message = f": {said['type']}: {said['message']}" if _is_error(said) else ""
        steps.append((attempt.ended_at, f"attempt {attempt.attempt} {attempt.end}{message}"))
    told = any(attempt.started_at == job.started_at for attempt in attempts)
    if job.started_at is not None and not told:
        by = f" by {job.worker}" if job.worker else ""
        steps.append((job.started_at, f"attempt {job.attempt} began{by}"))
    if job.cancel_requested and job.finished_at is None:
        steps.append((None, "cancellation requested"))
    if job.finished_at is not None:
        reason = f": {job.reason}" if job.reason else ""
        steps.append((job.finished_at, f"{job.state}{reason}"))
    elif job.state == "scheduled":
        waits = f"waits for signal {job.signal}"
        steps.append((job.run_at, waits if job.signal else f"attempt {job.attempt + 1} is due"))
    elif job.state == "waiting":
        steps.append((None, "waits for the jobs before it"))
    return [{"at": at, "what": what} for at, what in steps]


def queue(record: QueueRecord) -> dict[str, Any]:
    """A queue and its jobs by state."""
    return {
        "name": record.name,
        "paused": record.paused,
        "counts": dict(record.counts),
        "oldest_queued_at": record.oldest_queued_at,
    }


def worker(record: WorkerRecord) -> dict[str, Any]:
    """A worker and what it does."""
    return {
        "name": record.name,
        "hostname": record.hostname,
        "pid": record.pid,
        "queues": record.queues,
        "concurrency": record.concurrency,
        "started_at": record.started_at,
        "seen_at": record.seen_at,
        "running": record.running,
        "processed": record.processed,
        "failed": record.failed,
        "report": _data(record.report),
    }


def schedule(record: ScheduleRecord) -> dict[str, Any]:
    """A schedule and its next tick."""
    return {
        "name": record.name,
        "task": record.task,
        "queue": record.queue,
        "cron": record.cron,
        "tz": record.tz,
        "every": record.every,
        "next_at": record.next_at,
        "last_at": record.last_at,
        "last_job": record.last_job,
        "paused": record.paused,
        "owner": record.owner,
    }


def limit(record: LimitRecord) -> dict[str, Any]:
    """A limit across workers."""
    return {
        "scope": record.scope,
        "concurrency": record.concurrency,
        "rate": record.rate,
        "burst": record.burst,
    }


def _is_error(said: Any) -> bool:
    return isinstance(said, dict) and {"type", "message"} <= said.keys()


def _data(raw: bytes | None) -> Any:
    """Stored JSON as a value; what is too long or is no JSON as text."""
    if raw is None:
        return None
    if len(raw) > DATA_LIMIT:
        shown = raw[:DATA_LIMIT].decode(errors="replace")
        return f"{shown}… ({len(raw)} bytes in all)"
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")
