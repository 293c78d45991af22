"""`pelton routes APP`: what the application answers to."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from typing import Any

from pelton.cli import apps, options


def add_parser(subparsers: options.Subparsers) -> None:
    """Adds the command's parser."""
    parser = options.command(
        subparsers,
        "routes",
        help="List the routes of an app.",
        description="Lists the application's routes in the order in which they match.",
    )
    options.app(parser)
    options.add(parser, "--json", action="store_true", help="one JSON array, with more of each")


def run(args: argparse.Namespace) -> int:
    """Prints one line a route: methods, path, endpoint; or all of it as JSON."""
    found = apps.load(args.app, factory=args.factory, app_dir=args.app_dir)
    listed = list(walk(getattr(found.app, "routes", ())))
    if args.json:
        print(json.dumps([describe(*entry) for entry in listed], indent=2))
        return 0
    rows = [(methods, path, _name(route)) for methods, path, route in listed]
    if not rows:
        print(f"{found.spec} has no routes to list.")
        return 0
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for methods, path, endpoint in rows:
        print(f"{methods:{widths[0]}}  {path:{widths[1]}}  {endpoint}")
    return 0


def describe(methods: str, path: str, route: Any) -> dict[str, Any]:
    """A route for programs: `methods` has none for a WebSocket or a mounted application.

    `plan` says whether a compiled plan serves it, and `reason` why not.
    """
    from pelton.web._plan import explain

    kinds = {"WS": "websocket", "*": "mount"}
    reason = explain(route)
    return {
        "kind": kinds.get(methods, "http"),
        "methods": [] if methods in kinds else methods.split(","),
        "path": path,
        "name": getattr(route, "name", None),
        "endpoint": _name(route),
        "plan": reason is None,
        "reason": reason,
    }


def walk(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """(methods, path, route) of each route, those of mounted applications included."""
    for route in routes:
        included = getattr(route, "contexts", None)
        if included is not None:
            # An included router: its contexts say under which path each of its routes is reached.
            yield from walk((one.effective or one.route for one in included), prefix)
            continue
        path = prefix + str(getattr(route, "path", ""))
        children = getattr(route, "routes", None)
        if children:
            yield from walk(children, path)
            continue
        methods = getattr(route, "methods", None)
        if methods:
            # HEAD comes with every GET.
            shown = ",".join(sorted(method for method in methods if method != "HEAD"))
        else:
            shown = "WS" if "WebSocket" in type(route).__name__ else "*"
        yield shown, path or "/", route


def _name(route: Any) -> str:
    """The endpoint's name, or the mounted application's."""
    endpoint = getattr(route, "endpoint", None) or getattr(route, "app", None)
    module = getattr(endpoint, "__module__", "")
    name = getattr(endpoint, "__qualname__", None) or type(endpoint).__qualname__
    return f"{module}.{name}" if module else str(name)
