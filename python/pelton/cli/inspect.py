"""`pelton inspect`: what the broker knows of queues, jobs, workers and schedules."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pelton.cli import brokers, options
from pelton.cli.errors import CommandError

if TYPE_CHECKING:
    from pelton._core import Broker

WHAT = ("queues", "jobs", "job", "workflow", "workers", "schedules", "limits", "stats")
_WITH_ID = ("job", "workflow")
STATES = ("waiting", "scheduled", "queued", "running", "succeeded", "dead", "cancelled")

_JOB = [
    "id",
    "task",
    "queue",
    "state",
    "priority",
    "attempt",
    "max_retries",
    "created_at",
    "run_at",
    "started_at",
    "finished_at",
    "timeout",
    "key",
    "group",
    "worker",
    "progress",
    "message",
    "reason",
    "payload",
    "result",
    "error",
    "cancel_requested",
    "headers",
    "limit_key",
    "signal",
]
_QUEUE = ["name", "paused", "counts", "oldest_queued_at"]
_WORKER = [
    "name",
    "hostname",
    "pid",
    "queues",
    "concurrency",
    "started_at",
    "seen_at",
    "running",
    "processed",
    "failed",
    "report",
]
_SCHEDULE = [
    "name",
    "task",
    "queue",
    "cron",
    "tz",
    "every",
    "next_at",
    "last_at",
    "last_job",
    "owner",
    "paused",
    "grace",
    "catch_up",
]
_LIMIT = ["scope", "concurrency", "rate", "burst"]
_ATTEMPT = ["attempt", "token", "worker", "started_at", "ended_at", "end", "error"]
_JSON_BYTES = {"payload", "result", "error", "headers", "report"}


def add_parser(subparsers: options.Subparsers) -> None:
    """Adds the command's parser."""
    parser = options.command(
        subparsers,
        "inspect",
        help="Show queues, jobs, workflows, workers, schedules, limits or figures.",
        description="Shows what the broker knows; for `job` and `workflow`, give the id.",
    )
    parser.add_argument("what", choices=WHAT, help="What to show.")
    parser.add_argument("id", nargs="?", help="The id of a job or workflow.")
    brokers.add_options(parser)
    parser.add_argument("--state", choices=STATES, help="jobs: only those in this state.")
    parser.add_argument("--queue", help="jobs: only those of this queue.")
    parser.add_argument("--task", help="jobs: only those of this task.")
    parser.add_argument("--limit", type=options.count, default=50, help="jobs: how many at most.")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table.")


def run(args: argparse.Namespace) -> int:
    """Prints a table, or JSON: a list, for `job` an object."""
    if (args.what in _WITH_ID) != (args.id is not None):
        raise CommandError("write `pelton inspect job ID`; but for workflows others take no id")
    with brokers.opened(args) as broker:
        if args.what == "job":
            return _job(broker, args.id, args.json)
        if args.what in ("workflow", "stats"):
            figures = _workflow(broker, args.id) if args.id else _stats(broker)
            print(json.dumps(figures, indent=2) if args.json else _lines(figures))
            return 0
        records, fields, columns = _rows(broker, args)
    if args.json:
        print(json.dumps([_plain(record, fields) for record in records], indent=2))
    else:
        _table(columns, [[_cell(record, column) for column in columns] for record in records])
    return 0


def _rows(
    broker: Broker, args: argparse.Namespace
) -> tuple[Sequence[Any], Sequence[str], Sequence[str]]:
    if args.what == "queues":
        return broker.queues() or [], _QUEUE, ("name", "paused", *STATES)
    if args.what == "workers":
        return broker.workers() or [], _WORKER, _WORKER[:-1]
    if args.what == "limits":
        return broker.limits() or [], _LIMIT, _LIMIT
    if args.what == "schedules":
        return broker.schedules() or [], _SCHEDULE, _SCHEDULE
    jobs = broker.list_jobs(state=args.state, queue=args.queue, task=args.task, limit=args.limit)
    columns = ("id", "task", "queue", "state", "attempt", "created_at", "progress", "reason")
    return jobs or [], _JOB, columns


def _job(broker: Broker, id: str, as_json: bool) -> int:
    record = broker.get(id)
    if record is None:
        raise CommandError(f"there is no job {id!r}", code=1)
    plain = _plain(record, _JOB)
    history = [_plain(attempt, _ATTEMPT) for attempt in broker.history(id) or []]
    if as_json:
        plain["history"] = history
        print(json.dumps(plain, indent=2))
        return 0
    width = max(map(len, _JOB))
    error = plain.pop("error")
    for name, value in plain.items():
        if value is not None:
            shown = _moment(value) if name.endswith("_at") else value
            print(f"{name:{width}}  {shown if isinstance(shown, str) else json.dumps(shown)}")
    if error:
        print(f"{'error':{width}}  {error.get('type')}: {error.get('message')}")
        print(error.get("traceback", ""), end="")
    for attempt in history:
        ended = f"attempt {attempt['attempt']} {attempt['end']} {_moment(attempt['ended_at'])}"
        said = (attempt["error"] or {}).get("message", "")
        print(f"{'history':{width}}  {ended} on {attempt['worker']} {said}".rstrip())
    return 0


def _workflow(broker: Broker, id: str) -> dict[str, Any]:
    counts = broker.group_counts(id) or {}
    if not any(counts.values()):
        raise CommandError(f"there is no workflow {id!r}", code=1)
    ended = counts["succeeded"] + counts["dead"] + counts["cancelled"]
    figures: dict[str, Any] = {"id": id, "jobs": sum(counts.values()), "ended": ended}
    figures.update(dict(counts.items()))
    return figures


def _stats(broker: Broker) -> dict[str, Any]:
    queues, workers = broker.queues() or [], broker.workers() or []
    figures: dict[str, Any] = {"queues": len(queues), "workers": len(workers)}
    for queue in queues:
        for state, count in queue.counts.items():
            figures[state] = figures.get(state, 0) + count
    figures["paused queues"] = sum(queue.paused for queue in queues)
    figures["attempts"] = sum(worker.processed for worker in workers)
    figures["failed attempts"] = sum(worker.failed for worker in workers)
    figures["schedules"] = len(broker.schedules() or [])
    return figures


def _lines(figures: dict[str, Any]) -> str:
    width = max(map(len, figures))
    return "\n".join(f"{name:{width}}  {value}" for name, value in figures.items())


def _plain(record: Any, fields: Iterable[str]) -> dict[str, Any]:
    return {name: _value(name, getattr(record, name)) for name in fields}


def _value(name: str, value: Any) -> Any:
    if name not in _JSON_BYTES or value is None:
        return value
    try:
        return json.loads(value)
    except ValueError:
        # Another program's payload: show it as it is.
        return bytes(value).decode(errors="backslashreplace")


def _cell(record: Any, column: str) -> str:
    value = record.counts.get(column, 0) if column in STATES else getattr(record, column)
    if value is None:
        return "-"
    if column.endswith("_at"):
        return _moment(value)
    if isinstance(value, list):
        return ",".join(value) or "all"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    for row in (columns, *rows):
        print(
            "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )
