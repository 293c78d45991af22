"""Finding the broker that `inspect` and `control` talk to."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pelton.cli import apps, options
from pelton.cli.errors import CommandError

if TYPE_CHECKING:
    from pelton._core import Broker

_SQLITE = "sqlite:///"
_DEFAULT = "pelton.db"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--broker`, `--app` and `--app-dir`."""
    options.add(parser, "--broker", metavar="URL", help="The broker, such as sqlite:///pelton.db.")
    options.add(
        parser,
        "--app",
        metavar="APP",
        help="Without --broker: use that of the first Jobs object that importing APP creates.",
    )
    options.add(
        parser,
        "--app-dir",
        metavar="DIR",
        default=".",
        help="Where to look for APP's module first.",
    )


@contextmanager
def opened(args: argparse.Namespace) -> Iterator[Broker]:
    """The broker that the options name; CommandError where there is none."""
    from pelton._core import Broker, BrokerError
    from pelton.jobs._store import shown

    url = _url(args)
    if url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).exists():
        raise CommandError(f"there is no database at {url}; name it with --broker or --app", code=1)
    try:
        broker = Broker(url)
    except BrokerError as error:
        raise CommandError(f"{shown(url)}: {error}", code=1) from error
    try:
        yield broker
    except BrokerError as error:
        raise CommandError(f"{shown(url)}: {error}", code=1) from error
    finally:
        broker.close()


def _url(args: argparse.Namespace) -> str:
    if args.broker:
        return str(args.broker)
    if not args.app:
        return _SQLITE + _DEFAULT
    found = apps.load(args.app, app_dir=args.app_dir, asgi=False)
    from pelton.jobs import instances

    jobs = instances()
    if not jobs:
        raise CommandError(f"importing APP {found.spec!r} made no Jobs object: use --broker")
    return jobs[0].url
