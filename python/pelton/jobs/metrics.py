"""What brokers hold, as Prometheus reads it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pelton._core import QueueRecord, ScheduleRecord, WorkerRecord
from pelton.jobs.jobs import Jobs

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[Mapping[str, str], float]


async def metrics(jobs: Iterable[Jobs], worker: Mapping[str, Any] | None = None) -> str:
    """The text format: counts by queue and state, ages, workers, schedules of each broker.

    worker: `Worker.state`, of a worker that tells of itself. BrokerError.
    """
    queues: list[Sample] = []
    paused: list[Sample] = []
    ages: list[Sample] = []
    workers: list[Sample] = []
    done: list[Sample] = []
    failed: list[Sample] = []
    late: list[Sample] = []
    now = time.time()
    for number, each in enumerate({each.url: each for each in jobs}.values()):
        broker = {"broker": str(number)}
        queues += _states(await each.queue_records(), broker)
        for queue in await each.queue_records():
            labels = {**broker, "queue": queue.name}
            paused.append((labels, float(queue.paused)))
            oldest = queue.oldest_queued_at
            ages.append((labels, 0.0 if oldest is None else max(0.0, now - oldest)))
        records = await each.worker_records()
        workers.append((broker, float(len(records))))
        done += _of_workers(records, broker, "processed")
        failed += _of_workers(records, broker, "failed")
        late += _lateness(await each.schedule_records(), broker, now)
    lines = [
        *_metric("pelton_jobs", "gauge", "Jobs by queue and state.", queues),
        *_metric("pelton_queue_paused", "gauge", "1: workers take nothing from it.", paused),
        *_metric("pelton_queue_age_seconds", "gauge", "Of the oldest ready job.", ages),
        *_metric("pelton_workers", "gauge", "Workers that gave a sign of life.", workers),
        *_metric("pelton_worker_attempts_total", "counter", "Attempts that ended.", done),
        *_metric("pelton_worker_failures_total", "counter", "Attempts that failed.", failed),
        *_metric("pelton_schedule_late_seconds", "gauge", "Past its next tick.", late),
    ]
    if worker is not None:
        for name in ("concurrency", "running", "processes", "rss", "quiet"):
            text = f"Of this worker: {name}."
            lines += _metric(f"pelton_worker_{name}", "gauge", text, [({}, float(worker[name]))])
    return "\n".join(lines) + "\n"


def _states(records: Sequence[QueueRecord], broker: Mapping[str, str]) -> list[Sample]:
    return [
        ({**broker, "queue": queue.name, "state": state}, float(count))
        for queue in records
        for state, count in queue.counts.items()
    ]


def _of_workers(
    records: Sequence[WorkerRecord], broker: Mapping[str, str], field: str
) -> list[Sample]:
    return [
        ({**broker, "worker": worker.name}, float(getattr(worker, field))) for worker in records
    ]


def _lateness(
    records: Sequence[ScheduleRecord], broker: Mapping[str, str], now: float
) -> list[Sample]:
    return [
        ({**broker, "schedule": record.name}, max(0.0, now - record.next_at))
        for record in records
        if record.next_at is not None and not record.paused
    ]


def _metric(name: str, kind: str, text: str, samples: Sequence[Sample]) -> list[str]:
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"{name}{{{inside}}} {value:g}" if inside else f"{name} {value:g}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
