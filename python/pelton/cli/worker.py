"""`pelton worker APP`: runs the app's jobs."""

from __future__ import annotations

import argparse

from pelton.cli import apps, options, supervised
from pelton.cli.errors import CommandError


def add_parser(subparsers: options.Subparsers) -> None:
    """Adds the command's parser."""
    parser = options.command(
        subparsers,
        "worker",
        help="Run the jobs of an app.",
        description=(
            "Runs the jobs of every pelton.jobs.Jobs object that importing APP creates, until\n"
            "SIGTERM or SIGINT. Then running jobs may end; those that do not are returned."
        ),
    )
    options.app(parser)
    options.add(
        parser,
        "--queues",
        action="append",
        metavar="QUEUE",
        help="Serve only this queue; may be given again. Without it: all.",
    )
    options.add(
        parser,
        "--concurrency",
        type=options.count,
        default=100,
        help="Jobs at once, of all kinds together.",
    )
    options.add(
        parser, "--threads", type=options.count, help="Threads for `def` tasks. Default: CPUs + 4."
    )
    options.add(
        parser,
        "--cpu-processes",
        type=options.count,
        help="Processes for `cpu=True` tasks. Default: one for each CPU.",
    )
    options.add(
        parser,
        "--lease",
        type=options.positive_seconds,
        default=15.0,
        metavar="SECONDS",
        help="How long the jobs of a killed worker wait before they run elsewhere.",
    )
    options.stop_timeout(parser)


def run(args: argparse.Namespace) -> int:
    """Serves until stopped."""
    found = apps.load(args.app, factory=args.factory, app_dir=args.app_dir, asgi=False)

    import pelton
    from pelton.jobs import BrokerError, InvalidTask, instances, serve_worker

    jobs = instances()
    if not jobs:
        raise CommandError(f"importing APP {found.spec!r} made no Jobs object: nothing to work on")
    settings = {
        "threads": args.threads,
        "processes": args.cpu_processes,
    }
    main = serve_worker(
        *jobs,
        queues=args.queues or (),
        concurrency=args.concurrency,
        lease=args.lease,
        # Returning what did not end in time takes a moment, too.
        grace=args.stop_timeout * 0.9,
        app=found.spec,
        log_level=args.log_level,
        ready=lambda: supervised.ready({"serves": [each.url for each in jobs]}),
        **{name: value for name, value in settings.items() if value is not None},
    )
    try:
        pelton.run(main)
    except (BrokerError, InvalidTask) as error:
        raise CommandError(str(error), code=1) from error
    return 0
