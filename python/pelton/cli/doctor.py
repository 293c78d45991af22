"""`pelton doctor APP`: what is here, whether it works together, and which routes are compiled."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from pelton.cli import apps, options
from pelton.cli.errors import CommandError
from pelton.cli.routes import walk
from pelton.cli.settings import declared, problem_of

PACKAGES = ("pydantic", "starlette", "python-multipart", "typing-extensions")
"""What Pelton is built on, and whose versions matter in a report."""


def add_parser(subparsers: options.Subparsers) -> None:
    """Adds the command's parser."""
    parser = options.command(
        subparsers,
        "doctor",
        help="Check an app and its surroundings, and explain its routes.",
        description=(
            "Prints versions, and checks the event loop, the application and the brokers of its\n"
            "jobs. Says of each route whether it is compiled, or why it takes the slower way\n"
            "(Starlette's). Without APP it checks only the surroundings. Exit code 1: something\n"
            "does not work."
        ),
    )
    options.app(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the report."""
    report = Report()
    report.versions()
    report.loop()
    if args.app:
        before = declared()
        found = apps.load(args.app, factory=args.factory, app_dir=args.app_dir, asgi=False)
        report.brokers()
        report.settings(declared(before))
        report.routes(found.app)
    return 1 if report.failed else 0


class Report:
    """Findings, printed as they come."""

    def __init__(self) -> None:
        self.failed = False

    def versions(self) -> None:
        """Pelton, the interpreter, the system and the packages that matter."""
        from pelton import __version__

        self._line("ok", "pelton", __version__)
        self._line("ok", "python", f"{platform.python_version()} on {platform.platform()}")
        for name in PACKAGES:
            try:
                self._line("ok", name, importlib.metadata.version(name))
            except importlib.metadata.PackageNotFoundError:
                self._line("FAIL", name, "is not installed: pip install pelton brings it")

    def loop(self) -> None:
        """Runs the event loop once."""
        from pelton import Loop, run

        async def turn() -> None: ...

        try:
            run(turn())
        except Exception as error:
            self._line("FAIL", "event loop", f"does not run: {error}")
        else:
            self._line("ok", "event loop", f"{Loop.__module__}.{Loop.__qualname__} runs")

    def brokers(self) -> None:
        """Opens the broker of each Jobs object."""
        urls = apps.broker_urls()
        if not urls:
            self._line("ok", "jobs", "none: the application has no Jobs object")
            return
        from pelton.jobs._store import shown

        for url in urls:
            try:
                self._line("ok", "broker", f"{shown(url)}: {describe_broker(url)}")
            except CommandError as error:
                self._line("FAIL", "broker", f"{shown(url)}: {error}")

    def settings(self, classes: Iterable[type[Any]]) -> None:
        """Whether each class of settings finds what it needs."""
        for cls in classes:
            problem = problem_of(cls)
            if problem is None:
                self._line("ok", "settings", f"{cls.__name__}: complete (pelton settings shows)")
            else:
                self._line("FAIL", "settings", problem)

    def routes(self, app: Any) -> None:
        """Which routes have a compiled plan, and why the others have none."""
        if sys.modules.get("pelton.web") is None or not hasattr(app, "routes"):
            kind = f"{type(app).__module__}.{type(app).__qualname__}"
            self._line("ok", "routes", f"{kind} is not a pelton.web application: called as ASGI")
            return
        from pelton.web._plan_routes import why_asgi

        found = list(explain(app))
        slower = sum(reason is not None for _, reason, _ in found)
        self._line("ok", "routes", f"{len(found) - slower} compiled, {slower} not")
        reason = why_asgi(app)
        if reason is not None:
            self._line("slow", "entry", f"through ASGI, then to the plans: {reason}")
        for label, reason, detour in found:
            compiled = "compiled" if detour is None else f"compiled, called as ASGI: {detour}"
            self._line("plan" if reason is None else "slow", label, reason or compiled)

    def _line(self, mark: str, label: str, text: str) -> None:
        self.failed |= mark == "FAIL"
        print(f"{mark:4}  {label:18}  {text}")


def describe_broker(url: str) -> str:
    """What is in a broker, in a few words; CommandError if it does not answer."""
    from pelton._core import Broker, BrokerError

    try:
        broker = Broker(url)
        try:
            queues, workers = broker.queues() or [], broker.workers() or []
        finally:
            broker.close()
    except (BrokerError, ValueError) as error:
        raise CommandError(str(error), code=1) from None
    dead = sum(queue.counts.get("dead", 0) for queue in queues)
    # A process may have several entries: one for each pool of its own.
    processes = {(worker.hostname, worker.pid) for worker in workers}
    return f"{len(queues)} queues, {dead} dead jobs, {len(processes)} worker processes"


def explain(app: Any) -> Iterator[tuple[str, str | None, str | None]]:
    """(methods and path, why it is not compiled or None, why our server runs its plan by ASGI or
    None) for each route that could be compiled.

    WebSockets, mounts and documentation pages could not, and are left out.
    """
    from pelton.web._plan import detour
    from pelton.web._plan import explain as reason_of
    from pelton.web.routing import APIRoute

    for methods, path, route in walk(app.routes):
        if isinstance(route, APIRoute):
            yield f"{methods} {path}", reason_of(route), detour(route)
