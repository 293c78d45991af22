"""`pelton run APP`: web server, workers, scheduler and dashboard in one process tree."""

from __future__ import annotations

import argparse

from pelton.cli import address, options, serve, tree


def add_parser(subparsers: options.Subparsers) -> None:
    """Adds the command's parser."""
    parser = options.command(
        subparsers,
        "run",
        help="Run an app: server, workers, scheduler and dashboard.",
        description=(
            "Runs the application and every Jobs object that importing it creates, as one tree of\n"
            "processes: web server, workers, scheduler, and the dashboard at /_pelton. What dies\n"
            "starts again. SIGTERM or Ctrl-C stops all within the stop timeout: half of it for\n"
            "requests, then half of it for jobs. A second one stops at once."
        ),
    )
    options.app(parser)
    address.add_options(parser)
    serve.add_options(parser, dashboard=True)
    options.add(
        parser,
        "--job-workers",
        type=options.count,
        default=1,
        metavar="N",
        help="Worker processes for jobs.",
    )
    options.add(
        parser,
        "--concurrency",
        type=options.count,
        metavar="N",
        help="Jobs at once in each worker process; see `pelton worker --help`.",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the tree until a signal: 0, or the exit code of a part that could not start."""
    with address.bind(args.host, args.port) as listener:
        return tree.run(args, listener, jobs=True)
