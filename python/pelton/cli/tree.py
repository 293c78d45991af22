"""Which processes `pelton run` and `pelton serve --workers N` consist of, and their life."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

from pelton._supervision.part import Part, StartError
from pelton._supervision.supervisor import Supervisor
from pelton.cli import address, apps, server_options
from pelton.cli.sources import Sources
from pelton.server.config import Config
from pelton.server.crew import ROLE, Crew
from pelton.server.steering import live, steer

RUN_DIRECTORY = "PELTON_RUN_DIR"
"""Names the directory in which the processes of one tree leave their figures for each other."""

RELOAD_PERIOD = 0.5
"""Seconds between two looks at the source files."""

logger = logging.getLogger("pelton.run")


def run(
    args: argparse.Namespace, config: Config, sockets: list[socket.socket], *, jobs: bool
) -> int:
    """Runs web processes on `sockets`, and workers and a scheduler with `jobs`.

    Returns after a signal with 0, or with the exit code of a part that could not start.
    """
    apps.check_spec(args.app)
    directory = tempfile.mkdtemp(prefix="pelton-")
    os.environ[RUN_DIRECTORY] = directory
    if args.dashboard_token:
        # Not as an argument: every user of the machine can read those.
        os.environ["PELTON_DASHBOARD_TOKEN"] = args.dashboard_token
    server_options.hand_on_secrets(config)
    crew = Crew(sockets, config)
    try:
        # asyncio's own loop: this process only waits, for children and signals.
        return asyncio.run(_live(args, config, crew, jobs))
    finally:
        crew.close()
        remove_directory()


def remove_directory() -> None:
    """Removes the directory that the processes of this tree share, if there is one."""
    directory = os.environ.get(RUN_DIRECTORY)
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)


async def _live(args: argparse.Namespace, config: Config, crew: Crew, jobs: bool) -> int:
    tree = Supervisor()
    try:
        await live(
            tree,
            lambda: _start(args, config, crew, tree, jobs),
            beside=(lambda: _reload(args, tree)) if args.reload else None,
        )
    except StartError as error:
        # The part has said itself what was wrong.
        logger.error("%s", error)
        return error.code if error.code > 0 else 1
    logger.info("stopped")
    return 0


async def _start(
    args: argparse.Namespace, config: Config, crew: Crew, supervisor: Supervisor, jobs: bool
) -> None:
    """Starts all parts and prints where to look.

    The first web process comes first: it finds a wrong APP, once, and its report says whether
    there are jobs to run.
    """

    def web(name: str, fds: tuple[int, ...]) -> Part:
        return _web_part(args, crew, name, fds)

    first, *others = [web(*crew.join()) for _ in range(config.workers)]
    [report] = await supervisor.start(first)
    await supervisor.start(*others)
    if jobs and report["brokers"]:
        await supervisor.start(*_job_parts(args))
    elif jobs:
        logger.info("%s has no jobs: no worker and no scheduler needed", args.app)
    steer(supervisor, crew, web)
    address.print_banner(
        args.app,
        crew.sockets,
        secure=bool(config.ssl_certfile),
        dashboard=args.dashboard,
        brokers=report["brokers"] if jobs else [],
    )


async def _reload(args: argparse.Namespace, supervisor: Supervisor) -> None:
    """Restarts everything when a source file changes."""
    directory = Path(args.app_dir)
    sources = await asyncio.to_thread(Sources, directory, args.reload_include, args.reload_exclude)
    while True:
        await asyncio.sleep(RELOAD_PERIOD)
        if changed := await asyncio.to_thread(sources.changed):
            logger.info("%s changed: starting again", ", ".join(changed[:3]))
            await supervisor.restart()


def _web_part(args: argparse.Namespace, crew: Crew, name: str, fds: tuple[int, ...]) -> Part:
    config = crew.config
    command = _command("serve", args)
    command.append("--dashboard" if args.dashboard else "--no-dashboard")
    places = tuple(f"fd:{fd}" for fd in fds)
    command += server_options.flags(
        dataclasses.replace(config, bind=places, uds=None, fd=None, workers=1)
    )
    return Part(
        name,
        command,
        args.stop_timeout / 2,
        (*fds, *crew.shared),
        health_timeout=config.health_timeout,
        role=ROLE,
    )


def _job_parts(args: argparse.Namespace) -> list[Part]:
    worker = _command("worker", args)
    if args.concurrency is not None:
        worker += ["--concurrency", str(args.concurrency)]
    parts = [
        Part(name, worker, args.stop_timeout / 2) for name in _names("worker", args.job_workers)
    ]
    return [*parts, Part("scheduler", _command("scheduler", args), args.stop_timeout / 2)]


def _names(kind: str, number: int) -> list[str]:
    return [kind] if number == 1 else [f"{kind}-{index}" for index in range(1, number + 1)]


def _command(name: str, args: argparse.Namespace) -> list[str]:
    """How a part is called: what this process was told, since it goes on in another one."""
    command = [sys.executable, "-m", "pelton", name, args.app, "--app-dir", args.app_dir]
    command += ["--log-level", args.log_level, "--log-format", args.log_format]
    command += ["--stop-timeout", f"{args.stop_timeout / 2:g}"]
    if args.log_config is not None:
        command += ["--log-config", args.log_config]
    return [*command, "--factory"] if args.factory else command
