"""Options of the commands: each flag has an environment variable, and `--help` names both."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pelton.cli import log
from pelton.cli.errors import CommandError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subparsers = Any

TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
FALSE_WORDS = frozenset({"0", "false", "no", "off", ""})


def command(
    subparsers: Subparsers, name: str, *, help: str, description: str
) -> argparse.ArgumentParser:
    """A command's parser, with the options that every command has."""
    parser = subparsers.add_parser(
        name,
        help=help,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add(
        parser,
        "--log-level",
        choices=log.LEVELS,
        default="info",
        help="Least severe messages to log.",
    )
    add(
        parser,
        "--log-format",
        choices=log.FORMATS,
        default="text",
        help="Lines of text, or a JSON object a line.",
    )
    add(
        parser,
        "--log-config",
        metavar="FILE",
        help="Logging as this file says: JSON for logging.config.dictConfig, or INI.",
    )
    return parser


def app(parser: argparse.ArgumentParser) -> None:
    """Adds APP and what finding it needs: `args.app`, `args.factory`, `args.app_dir`."""
    add(
        parser,
        "app",
        metavar="APP",
        nargs="?",
        help="The application, as module:attribute; module alone means module:app.",
    )
    add(
        parser,
        "--factory",
        action="store_true",
        help="APP is a function without arguments that returns the application.",
    )
    add(
        parser,
        "--app-dir",
        metavar="DIR",
        default=".",
        help="Where to look for APP's module first.",
    )


def stop_timeout(parser: argparse.ArgumentParser) -> None:
    """Adds `args.stop_timeout`: seconds from SIGTERM or SIGINT to the end of the process."""
    add(
        parser,
        "--stop-timeout",
        type=positive_seconds,
        default=10.0,
        metavar="SECONDS",
        help="How long requests and jobs under way may take to end after SIGTERM or SIGINT.",
    )


def add(parser: argparse._ActionsContainer, flag: str, **settings: Any) -> None:
    """Adds an argument as `parser.add_argument` would, and its environment variable.

    `--job-workers` is also `PELTON_JOB_WORKERS`. The command line wins over the environment, and
    the environment over the default. The variable is read when the parser is made and checked
    only if its command runs (`resolve`), so a wrong one does not spoil the other commands.
    """
    name = flag.lstrip("-").replace("-", "_")
    variable = f"PELTON_{name.upper()}"
    default = settings.get("default")
    shown = "" if default in (None, ()) or isinstance(default, bool) else f"; default: {default}"
    if isinstance(default, tuple) and default:
        shown = f"; default: {','.join(default)}"
    settings["help"] = f"{settings['help']} [{variable}{shown}]".replace("%", "%%")
    action = parser.add_argument(flag, **settings)
    value = os.environ.get(variable)
    if value is not None:
        action.default = Pending(variable, value, _converter(action))


class Append(argparse._AppendAction):
    """Collects the values of a flag in a tuple. The first one replaces what the environment, or the
    default, has; an empty one adds nothing."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Takes one more value."""
        before = getattr(namespace, self.dest, None)
        given = before if isinstance(before, tuple) and before is not self.default else ()
        setattr(namespace, self.dest, (*given, values) if values else given)


@dataclass(frozen=True)
class Pending:
    """A value from the environment, not yet converted."""

    variable: str
    text: str
    convert: Callable[[str], Any]


def resolve(args: argparse.Namespace) -> None:
    """Converts the values of `args` that came from the environment.

    Raises CommandError, which names the variable, for a value that cannot be.
    """
    for name, value in vars(args).items():
        if isinstance(value, Pending):
            try:
                setattr(args, name, value.convert(value.text))
            except (ValueError, argparse.ArgumentTypeError) as error:
                reason = f": {error}" if str(error) else ""
                raise CommandError(
                    f"{value.variable}={value.text!r} is not a possible value{reason}"
                ) from None


def positive_seconds(text: str) -> float:
    """A finite number of seconds above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def count(text: str) -> int:
    """A whole number from 1 to 1024: of processes, or of jobs at once."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1024")
    return value


def size(text: str) -> int:
    """A whole number of bytes above zero."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes above 0")
    return value


def port(text: str) -> int:
    """A TCP port, or 0 for any that is free."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535, 0 for a free one")
    return value


def _converter(action: argparse.Action) -> Callable[[str], Any]:
    """How an action's environment variable is read."""
    if isinstance(action, argparse.BooleanOptionalAction | argparse._StoreTrueAction):
        return _boolean
    kind: Callable[[str], Any] = action.type if callable(action.type) else str
    if isinstance(action, Append):
        return lambda text: tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(action, argparse._AppendAction):
        return lambda text: [kind(part.strip()) for part in text.split(",") if part.strip()]
    choices = action.choices
    return kind if choices is None else lambda text: _chosen(kind(text), choices)


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise ValueError("write 1 or 0")


def _chosen(value: Any, choices: Iterable[Any]) -> Any:
    if value not in choices:
        raise ValueError("choose from " + ", ".join(map(str, choices)))
    return value
