"""`pelton settings APP`: what the application reads from its environment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from typing import Any

from pelton.cli import apps, options


def add_parser(subparsers: options.Subparsers) -> None:
    """Adds the command's parser."""
    parser = options.command(
        subparsers,
        "settings",
        help="List the settings of an app, and where each came from.",
        description=(
            "Imports the application and lists the settings of each class that it declares, with\n"
            "the variable that sets it, its value and its source. Secrets are shown as stars.\n"
            "Exit code 1: something is missing or wrong; it says what to do."
        ),
    )
    options.app(parser)


def run(args: argparse.Namespace) -> int:
    """Prints a table for each class of settings."""
    before = declared()
    apps.load(args.app, factory=args.factory, app_dir=args.app_dir, asgi=False)
    classes = declared(before)
    if not classes:
        print(f"{args.app} declares no settings: derive a class from pelton.settings.Settings.")
        return 0
    code = 0
    for number, cls in enumerate(classes):
        if number:
            print()
        print(f"{cls.__module__}.{cls.__qualname__}")
        _table(cls)
        problem = problem_of(cls)
        if problem is not None:
            print(f"pelton: {problem}", file=sys.stderr)
            code = 1
    return code


def declared(before: Collection[type[Any]] = ()) -> list[type[Any]]:
    """The classes of settings that were declared so far, in order, without those of `before`."""
    if "pydantic_settings" not in sys.modules:
        return []
    from pydantic_settings import BaseSettings

    found: dict[type[Any], None] = {}
    waiting = list(BaseSettings.__subclasses__())
    while waiting:
        cls = waiting.pop(0)
        waiting.extend(cls.__subclasses__())
        if cls.__module__.partition(".")[0] not in ("pydantic_settings", "pelton"):
            found[cls] = None
    return [cls for cls in found if cls not in before]


def problem_of(cls: type[Any]) -> str | None:
    """What is missing or wrong for `cls`; `None` if an instance can be made."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from pelton.settings.errors import InvalidSettings, invalid, unreadable

    try:
        cls()
    except InvalidSettings as error:
        return str(error)
    except ValidationError as error:
        return str(invalid(cls, error))
    except SettingsError as error:
        return str(unreadable(cls, error))
    return None


def _table(cls: type[Any]) -> None:
    from pelton.settings.sources import settings_of

    rows = [
        (" or ".join(setting.variables), setting.text, setting.source or "missing")
        for setting in settings_of(cls)
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for variable, text, source in rows:
        print(f"  {variable:{widths[0]}}  {text:{widths[1]}}  {source}")
