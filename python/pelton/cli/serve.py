"""`pelton serve APP`: the web server alone."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from pelton.cli import address, apps, options, supervised, tree
from pelton.cli.errors import CommandError

if TYPE_CHECKING:
    from pelton.dashboard import Dashboard, ProcessFigures
    from pelton.server import Server


def add_parser(subparsers: options.Subparsers) -> None:
    """Adds the command's parser."""
    parser = options.command(
        subparsers,
        "serve",
        help="Serve an app over HTTP, without workers.",
        description=(
            "Serves an ASGI 3 application over HTTP/1.1, HTTP/2 and WebSocket. SIGTERM or Ctrl-C\n"
            "lets requests under way end within the stop timeout."
        ),
    )
    options.app(parser)
    address.add_options(parser)
    options.add(
        parser,
        "--fd",
        type=int,
        metavar="FD",
        help="Listen on this inherited socket instead of --host and --port.",
    )
    add_options(parser, dashboard=False)


def add_options(parser: argparse.ArgumentParser, *, dashboard: bool) -> None:
    """Adds what `pelton serve` and `pelton run` have in common."""
    options.add(
        parser, "--workers", type=options.count, default=1, metavar="N", help="Web processes."
    )
    options.add(parser, "--access-log", action="store_true", help="Log one line a request.")
    options.add(
        parser,
        "--root-path",
        metavar="PATH",
        default="",
        help="The prefix under which a proxy serves the application, as /shop.",
    )
    options.add(
        parser,
        "--max-body",
        type=options.size,
        metavar="BYTES",
        default=100 * 1024 * 1024,
        help="Larger request bodies are answered 413.",
    )
    options.add(
        parser,
        "--reload",
        action="store_true",
        help="Start again when a Python file below --app-dir changes.",
    )
    options.add(
        parser,
        "--dashboard",
        action=argparse.BooleanOptionalAction,
        default=dashboard,
        help=f"The dashboard at /_pelton, by default {'on' if dashboard else 'off'}.",
    )
    options.add(
        parser,
        "--dashboard-token",
        metavar="TOKEN",
        help="Who has it may open the dashboard from other machines; without one, none may.",
    )
    options.stop_timeout(parser)


def run(args: argparse.Namespace) -> int:
    """Serves until a signal."""
    listener = address.bind(args.host, args.port) if args.fd is None else address.inherited(args.fd)
    with listener:
        if args.workers > 1 or (args.reload and not supervised.active()):
            return tree.run(args, listener, jobs=False)
        return _serve(args, listener)


def _serve(args: argparse.Namespace, listener: socket.socket) -> int:
    import pelton
    from pelton.dashboard import ProcessFigures
    from pelton.server import Config, ConfigError, Server, StartupError

    figures = ProcessFigures()
    found = apps.load(args.app, factory=args.factory, app_dir=args.app_dir)
    brokers = apps.open_brokers()
    dashboard = _dashboard(args, brokers, figures) if args.dashboard else None

    def started() -> None:
        if dashboard is not None:
            figures.attach(asyncio.get_running_loop())
            dashboard.start()
        supervised.ready({"brokers": brokers})
        if not supervised.active():
            address.print_banner(found.spec, listener, dashboard=args.dashboard)

    try:
        config = Config(
            graceful_timeout=args.stop_timeout,
            access_log=args.access_log,
            root_path=args.root_path,
            max_body=args.max_body,
            mounts={} if dashboard is None else {dashboard.prefix: dashboard},
        )
        server = Server(found.app, config, socks=(listener,), on_started=started)
        pelton.run(_until_signal(server, dashboard))
    except ConfigError as error:
        raise CommandError(str(error)) from None
    except StartupError as error:
        raise CommandError(str(error), code=error.exit_code) from None
    finally:
        if supervised.orphaned():
            tree.remove_directory()
    return 0


async def _until_signal(server: Server, dashboard: Dashboard | None) -> None:
    """Serves until SIGTERM or SIGINT; a second one does not wait for requests under way."""

    def stop() -> None:
        # Its event streams would keep the server from draining.
        if dashboard is not None:
            dashboard.stop()
        server.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await server.serve()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _dashboard(args: argparse.Namespace, brokers: list[str], figures: ProcessFigures) -> Dashboard:
    from pelton.dashboard import Dashboard

    directory = os.environ.get(tree.RUN_DIRECTORY)
    return Dashboard(
        brokers,
        figures,
        directory=None if directory is None else Path(directory),
        token=args.dashboard_token,
    )
