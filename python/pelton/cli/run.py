"""`pelton run APP`: web server, workers, scheduler and dashboard in one process tree."""

from __future__ import annotations

import argparse
import contextlib

from pelton.cli import address, options, serve, server_options, tree


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
    config = server_options.config(args, graceful_timeout=args.stop_timeout / 2)
    with contextlib.ExitStack() as stack:
        found = address.bind(config)
        for listening in found:
            stack.callback(listening.close)
        return tree.run(args, config, [listening.sock for listening in found], jobs=True)
