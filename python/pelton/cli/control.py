"""`pelton control`: changes what the broker holds, and orders its workers about."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from pelton.cli import brokers, options
from pelton.cli.errors import CommandError

if TYPE_CHECKING:
    from pelton._core import Broker

Action = Callable[["Broker", str, argparse.Namespace], bool | str | None]
"""Does it to one name. False: it was refused; a text is printed."""

_BATCH = 1000

_REFUSED = {
    "cancel": "it has ended already, or does not exist",
    "retry": "it is neither dead nor cancelled, or does not exist",
    "delete": "it has not ended, or does not exist",
    "signal": "it has ended already, or does not exist",
    "cancel-workflow": "nothing of it is left, or it does not exist",
    "schedule-pause": "there is no such schedule",
    "schedule-resume": "there is no such schedule",
    "schedule-run": "there is no such schedule",
    "schedule-remove": "there is no such schedule",
    "grow": "there is no such worker",
    "shrink": "there is no such worker",
    "quiet": "there is no such worker",
    "wake": "there is no such worker",
    "stop": "there is no such worker",
}


def add_parser(subparsers: options.Subparsers) -> None:
    """Adds the command's parser."""
    parser = options.command(
        subparsers,
        "control",
        help="Pause, cancel, retry, purge, limit; order workers.",
        description=(
            "Changes what the broker holds. What the names are:\n"
            "  pause, resume, purge, retry-dead   queues\n"
            "  cancel, retry, delete, signal      ids of jobs\n"
            "  cancel-workflow                    ids of workflows\n"
            "  limit                              queue:NAME, task:NAME, key:TASK\n"
            "  schedule-pause/-resume/-run/-remove  schedules\n"
            "  grow, shrink, quiet, wake, stop    workers, or all"
        ),
    )
    parser.add_argument("action", choices=sorted(_ACTIONS), help="What to do.")
    parser.add_argument("names", nargs="+", metavar="NAME", help="To what: see above.")
    parser.add_argument("--by", type=options.count, default=1, help="grow, shrink: by how many.")
    parser.add_argument("--concurrency", type=options.count, help="limit: jobs at a time.")
    parser.add_argument("--rate", help="limit: jobs that begin, such as 10/s or 100/m.")
    parser.add_argument("--signal", default="", metavar="SIGNAL", help="signal: its name.")
    parser.add_argument("--value", default="null", metavar="JSON", help="signal: its value.")
    brokers.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Does it to each; exit code 1 if one refused."""
    refused = []
    with brokers.opened(args) as broker:
        for name in args.names:
            try:
                answer = _ACTIONS[args.action](broker, name, args)
            except ValueError as error:
                raise CommandError(f"{args.action} {name}: {error}") from error
            if answer is False:
                refused.append(name)
            elif isinstance(answer, str):
                print(answer)
    if refused:
        reason = _REFUSED[args.action]
        raise CommandError(f"cannot {args.action} {', '.join(refused)}: {reason}", code=1)
    return 0


def _purge(broker: Broker, name: str, args: argparse.Namespace) -> str:
    ended = 0
    while some := broker.purge_queue(name, _BATCH):
        ended += some
    return f"{name}: {ended} jobs cancelled"


def _retry_dead(broker: Broker, name: str, args: argparse.Namespace) -> str:
    dead = broker.list_jobs(state="dead", queue=name, limit=_BATCH) or []
    again = sum(bool(broker.retry(record.id)) for record in reversed(dead))
    return f"{name}: {again} jobs run again"


def _signal(broker: Broker, name: str, args: argparse.Namespace) -> bool:
    if not args.signal:
        raise ValueError("give --signal NAME")
    json.loads(args.value)
    return bool(broker.signal(name, args.signal, args.value.encode()))


def _limit(broker: Broker, name: str, args: argparse.Namespace) -> None:
    from pelton.jobs.limits import limit_of

    limit = limit_of(args.concurrency, args.rate)
    if limit is None:
        broker.set_limit(name)
    else:
        broker.set_limit(name, concurrency=limit.concurrency, rate=limit.rate, burst=limit.burst)


def _order(broker: Broker, name: str, args: argparse.Namespace) -> bool:
    from pelton.jobs.orders import order

    told = broker.order_workers(None if name == "all" else name, order(args.action, args.by))
    return bool(told)


def _cancel_workflow(broker: Broker, name: str, args: argparse.Namespace) -> bool | str:
    ended = broker.cancel_group(name, "pelton control")
    return f"{name}: {ended} jobs cancelled" if ended else False


def _run_schedule(broker: Broker, name: str, args: argparse.Namespace) -> bool | str:
    return broker.run_schedule(name) or False


_ACTIONS: dict[str, Action] = {
    "pause": lambda broker, name, _: broker.set_paused(name, True),
    "resume": lambda broker, name, _: broker.set_paused(name, False),
    "purge": _purge,
    "retry-dead": _retry_dead,
    "cancel": lambda broker, name, _: bool(broker.cancel(name)),
    "retry": lambda broker, name, _: bool(broker.retry(name)),
    "delete": lambda broker, name, _: bool(broker.delete(name)),
    "signal": _signal,
    "cancel-workflow": _cancel_workflow,
    "limit": _limit,
    "schedule-pause": lambda broker, name, _: bool(broker.pause_schedule(name, True)),
    "schedule-resume": lambda broker, name, _: bool(broker.pause_schedule(name, False)),
    "schedule-run": _run_schedule,
    "schedule-remove": lambda broker, name, _: bool(broker.remove_schedule(name)),
    "grow": _order,
    "shrink": _order,
    "quiet": _order,
    "wake": _order,
    "stop": _order,
}
