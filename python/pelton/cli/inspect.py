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

WHAT = ("queues", "jobs", "job", "workers", "schedules")
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
]
_SCHEDULE = ["name", "task", "queue", "cron", "tz", "every", "next_at", "last_at", "last_job"]
_JSON_BYTES = {"payload", "result", "error"}


def add_parser(subparsers: options.Subparsers) -> None:
    """Adds the command's parser."""
    parser = options.command(
        subparsers,
        "inspect",
        help="Show queues, jobs, workers or schedules.",
        description="Shows what the broker knows; for `job`, give its id.",
    )
    parser.add_argument("what", choices=WHAT, help="What to show.")
    parser.add_argument("id", nargs="?", help="A job's id.")
    brokers.add_options(parser)
    parser.add_argument("--state", choices=STATES, help="jobs: only those in this state.")
    parser.add_argument("--queue", help="jobs: only those of this queue.")
    parser.add_argument("--task", help="jobs: only those of this task.")
    parser.add_argument("--limit", type=options.count, default=50, help="jobs: how many at most.")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table.")


def run(args: argparse.Namespace) -> int:
    """Prints a table, or JSON: a list, for `job` an object."""
    if (args.what == "job") != (args.id is not None):
        raise CommandError("write `pelton inspect job ID`; the others take no id")
    with brokers.opened(args) as broker:
        if args.what == "job":
            return _job(broker, args.id, args.json)
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
        return broker.workers() or [], _WORKER, _WORKER
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
    if as_json:
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
    return 0


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
