"""`pelton control`: pause and resume queues; cancel, retry and delete jobs."""

from __future__ import annotations

import argparse

from pelton.cli import brokers, options
from pelton.cli.errors import CommandError

_REFUSED = {
    "cancel": "it has ended already, or does not exist",
    "retry": "it is neither dead nor cancelled, or does not exist",
    "delete": "it has not ended, or does not exist",
}


def add_parser(subparsers: options.Subparsers) -> None:
    """Adds the command's parser."""
    parser = options.command(
        subparsers,
        "control",
        help="Pause or resume a queue; cancel, retry or delete a job.",
        description="Changes what the broker holds: a queue by its name, jobs by their ids.",
    )
    parser.add_argument("action", choices=("pause", "resume", *_REFUSED), help="What to do.")
    parser.add_argument("names", nargs="+", metavar="NAME", help="Queues, or ids of jobs.")
    brokers.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Does it to each; exit code 1 if one refused."""
    refused = []
    with brokers.opened(args) as broker:
        for name in args.names:
            if args.action in ("pause", "resume"):
                broker.set_paused(name, args.action == "pause")
            elif not getattr(broker, args.action)(name):
                refused.append(name)
    if refused:
        reason = _REFUSED[args.action]
        raise CommandError(f"cannot {args.action} {', '.join(refused)}: {reason}", code=1)
    return 0
