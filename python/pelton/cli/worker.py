"""`pelton worker APP`: runs the app's jobs."""

from __future__ import annotations

import argparse

from pelton._supervision import child
from pelton.cli import apps, options
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
    options.add(
        parser,
        "--max-jobs",
        type=options.count,
        help="Replace a process for `cpu=True` tasks after so many jobs.",
    )
    options.add(
        parser,
        "--max-rss",
        type=options.count,
        metavar="BYTES",
        help="Replace a process for `cpu=True` tasks that has more memory.",
    )
    options.add(
        parser,
        "--autoscale",
        type=_range,
        metavar="MIN,MAX",
        help="Processes for `cpu=True` tasks: as many as there is work for.",
    )
    options.add(
        parser,
        "--health",
        type=_address,
        metavar="HOST:PORT",
        help="Answer /live, /ready and /metrics there.",
    )
    options.stop_timeout(parser)


def _range(text: str) -> tuple[int, int]:
    least, _, most = text.partition(",")
    found = (int(least), int(most))
    if not 1 <= found[0] <= found[1]:
        raise ValueError("MIN,MAX: 1 or more, the smaller first")
    return found


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit():
        raise ValueError("HOST:PORT, such as 127.0.0.1:8081")
    return host.strip("[]") or "127.0.0.1", int(port)


def run(args: argparse.Namespace) -> int:
    """Serves until stopped."""
    found = apps.load(args.app, factory=args.factory, app_dir=args.app_dir, asgi=False)

    import pelton
    from pelton.jobs import BrokerError, InvalidTask, instances, serve_worker
    from pelton.jobs._store import shown

    jobs = instances()
    if not jobs:
        raise CommandError(f"importing APP {found.spec!r} made no Jobs object: nothing to work on")
    settings = {
        "threads": args.threads,
        "processes": args.cpu_processes,
        "max_jobs_per_process": args.max_jobs,
        "max_rss_per_process": args.max_rss,
        "autoscale": args.autoscale,
        "health": args.health,
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
        ready=lambda: child.ready({"serves": [shown(each.url) for each in jobs]}),
        **{name: value for name, value in settings.items() if value is not None},
    )
    try:
        pelton.run(main)
    except (BrokerError, InvalidTask) as error:
        raise CommandError(str(error), code=1) from error
    return 0
