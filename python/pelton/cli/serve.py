"""`pelton serve APP`: the web server alone."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from pelton._supervision import child
from pelton.cli import address, apps, options, server_options, tree
from pelton.cli.errors import CommandError

if TYPE_CHECKING:
    from pelton.dashboard import Dashboard, ProcessFigures
    from pelton.server import Config, Server


def add_parser(subparsers: options.Subparsers) -> None:
    """Adds the command's parser."""
    parser = options.command(
        subparsers,
        "serve",
        help="Serve an app over HTTP, without workers.",
        description=(
            "Serves an ASGI 3 or WSGI application. SIGTERM or Ctrl-C lets requests under way\n"
            "end within the stop timeout. SIGHUP has the TLS files read again, or replaces\n"
            "several processes one by one; SIGTTIN and SIGTTOU make them one more or less;\n"
            "SIGUSR1 opens the access log anew."
        ),
    )
    options.app(parser)
    add_options(parser, dashboard=False)


def add_options(parser: argparse.ArgumentParser, *, dashboard: bool) -> None:
    """Adds what `pelton serve` and `pelton run` have in common."""
    options.add(
        parser,
        "--reload",
        action="store_true",
        help="Start again when a Python file below --app-dir changes.",
    )
    options.add(
        parser,
        "--reload-include",
        action=options.Append,
        default=("*.py",),
        metavar="PATTERN",
        help="Files that --reload looks at, by name or path below --app-dir; may be given again.",
    )
    options.add(
        parser,
        "--reload-exclude",
        action=options.Append,
        default=(),
        metavar="PATTERN",
        help="Files and directories that it does not look at; may be given again.",
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
    server_options.add(parser)


def run(args: argparse.Namespace) -> int:
    """Serves until a signal."""
    config = server_options.config(args, graceful_timeout=args.stop_timeout)
    with contextlib.ExitStack() as stack:
        sockets = []
        for listening in address.bind(config):
            stack.callback(listening.close)
            sockets.append(listening.sock)
        needs_tree = config.workers > 1 or config.needs_supervision or args.reload
        if needs_tree and not child.active():
            return tree.run(args, config, sockets, jobs=False)
        return _serve(args, config, sockets)


def _serve(args: argparse.Namespace, config: Config, sockets: list[socket.socket]) -> int:
    import pelton
    from pelton.dashboard import ProcessFigures
    from pelton.server import Server, StartupError
    from pelton.server.retirement import Retirement

    figures = ProcessFigures()
    found = apps.load(args.app, factory=args.factory, app_dir=args.app_dir)
    brokers = apps.open_brokers()
    dashboard = _dashboard(args, brokers, figures) if args.dashboard else None

    def started() -> None:
        if dashboard is not None:
            figures.attach(asyncio.get_running_loop())
            dashboard.start()
        child.ready({"brokers": brokers})
        Retirement(config, server).begin()
        if not child.active():
            secure = bool(config.ssl_certfile)
            address.print_banner(found.spec, sockets, secure=secure, dashboard=args.dashboard)

    try:
        mounts = {} if dashboard is None else {dashboard.prefix: dashboard}
        config = dataclasses.replace(config, mounts=mounts)
        server = Server(found.app, config, socks=sockets, on_started=started)
        pelton.run(_until_signal(server, dashboard))
    except StartupError as error:
        raise CommandError(str(error), code=error.exit_code) from None
    finally:
        if child.orphaned():
            tree.remove_directory()
    return 0


async def _until_signal(server: Server, dashboard: Dashboard | None) -> None:
    """Serves until SIGTERM or SIGINT; a second one does not wait for requests under way."""
    from pelton.server.running import handling_signals

    def stop() -> None:
        # Its event streams would keep the server from draining.
        if dashboard is not None:
            dashboard.stop()
        server.stop()

    with handling_signals(server, stop):
        await server.serve()


def _dashboard(args: argparse.Namespace, brokers: list[str], figures: ProcessFigures) -> Dashboard:
    from pelton.dashboard import Dashboard

    directory = os.environ.get(tree.RUN_DIRECTORY)
    return Dashboard(
        brokers,
        figures,
        directory=None if directory is None else Path(directory),
        token=args.dashboard_token,
    )
