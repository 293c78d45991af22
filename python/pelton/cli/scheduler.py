"""`pelton scheduler APP`: enqueues the app's scheduled jobs."""

from __future__ import annotations

import argparse

from pelton._supervision import child
from pelton.cli import apps, options
from pelton.cli.errors import CommandError


def add_parser(subparsers: options.Subparsers) -> None:
    """Adds the command's parser."""
    parser = options.command(
        subparsers,
        "scheduler",
        help="Enqueue the scheduled jobs of an app.",
        description=(
            "Enqueues the jobs of @jobs.cron and @jobs.every when it is their time. Several may\n"
            "run: one leads, and the next takes over when it ends."
        ),
    )
    options.app(parser)
    options.stop_timeout(parser)


def run(args: argparse.Namespace) -> int:
    """Serves until stopped."""
    found = apps.load(args.app, factory=args.factory, app_dir=args.app_dir, asgi=False)

    import pelton
    from pelton.jobs import BrokerError, InvalidArguments, InvalidTask, instances, serve_scheduler

    jobs = instances()
    if not jobs:
        raise CommandError(f"importing APP {found.spec!r} made no Jobs object: nothing to schedule")
    schedules = [name for each in jobs for name in each.schedules]
    main = serve_scheduler(
        *jobs,
        owner=found.module.__name__,
        ready=lambda: child.ready({"schedules": schedules}),
    )
    try:
        pelton.run(main)
    except (BrokerError, InvalidArguments, InvalidTask) as error:
        raise CommandError(str(error), code=1) from error
    return 0
