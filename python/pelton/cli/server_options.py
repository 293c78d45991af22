"""The options of the server, made from the fields of `pelton.server.Config`.

Each field is a flag and an environment variable, and its documentation is the flag's help: a new
field of `Config` needs nothing here.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import functools
import inspect
import os
import types
from collections.abc import Callable, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pelton.cli import options
from pelton.cli.errors import CommandError
from pelton.server import config as config_module
from pelton.server.config import Config, ConfigError

LEFT_OUT = frozenset({"mounts", "graceful_timeout"})
"""Fields that are no flags: apps cannot be written there, and `--stop-timeout` is the other."""
SECRET = frozenset({"ssl_keyfile_password"})
"""Fields that processes hand on by their environment: every user of the machine can read flags."""
SUFFIXES = {"k": 1024, "m": 1024**2, "g": 1024**3}
NOTHING = "none"
"""How an option that may be missing is left out."""


@dataclasses.dataclass(frozen=True)
class Option:
    """One field of the config, as people give it."""

    name: str
    kind: Any
    default: Any
    help: str

    @property
    def flag(self) -> str:
        """`--max-body` for the field `max_body`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """`PELTON_MAX_BODY` for the field `max_body`."""
        return f"PELTON_{self.name.upper()}"

    @property
    def is_optional(self) -> bool:
        """Whether it may be None."""
        return type(None) in get_args(self.kind)

    @property
    def plain(self) -> Any:
        """The type of a value that is not None."""
        if get_origin(self.kind) in (Union, types.UnionType):
            return next(one for one in get_args(self.kind) if one is not type(None))
        return self.kind

    @property
    def choices(self) -> tuple[str, ...]:
        """What it must be one of; empty where that is open."""
        return get_args(self.plain) if get_origin(self.plain) is Literal else ()

    def text(self, value: Any) -> str:
        """A value as it is written in a variable, or after `=`."""
        if value is None:
            return NOTHING
        if isinstance(value, bool):
            return "1" if value else "0"
        return ",".join(value) if isinstance(value, tuple) else f"{value}"


@functools.cache
def all_options() -> tuple[Option, ...]:
    """The options, in the order of the config's fields."""
    kinds = get_type_hints(Config)
    documentation = _documentation()
    return tuple(
        Option(field.name, kinds[field.name], field.default, documentation.get(field.name, ""))
        for field in dataclasses.fields(Config)
        if field.name not in LEFT_OUT
    )


def add(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each option."""
    group = parser.add_argument_group("server")
    for option in all_options():
        settings: dict[str, Any] = {"help": option.help, "default": option.default}
        if option.plain is bool:
            settings["action"] = argparse.BooleanOptionalAction
        elif option.choices:
            settings["choices"] = option.choices
        elif get_origin(option.plain) is tuple:
            settings |= {"action": options.Append, "metavar": _metavar(option)}
        else:
            settings |= {"type": _parser(option), "metavar": _metavar(option)}
        options.add(group, option.flag, **settings)


def config(args: argparse.Namespace, **others: Any) -> Config:
    """The config that the command line asks for; `others` are fields that it has no flags for.

    Raises CommandError for values that cannot be.
    """
    values = {option.name: getattr(args, option.name) for option in all_options()}
    try:
        return Config(**values, **others)
    except ConfigError as error:
        raise CommandError(str(error)) from None


def flags(config: Config) -> list[str]:
    """The command line of a process that is to have this config, whatever its environment says; but
    secrets are for `hand_on_secrets`."""
    found = []
    for option in all_options():
        value = getattr(config, option.name)
        if option.name in SECRET:
            continue
        if value == option.default and option.variable not in os.environ:
            continue
        if option.plain is bool:
            found.append(option.flag if value else f"--no-{option.flag[2:]}")
        elif isinstance(value, tuple):
            # An empty one takes nothing of the environment.
            found += [f"{option.flag}={each}" for each in value or ("",)]
        else:
            found.append(f"{option.flag}={option.text(value)}")
    return found


def hand_on_secrets(config: Config) -> None:
    """Puts what no command line should show where the processes that this one starts find it."""
    for option in all_options():
        value = getattr(config, option.name)
        if option.name in SECRET and value is not None:
            os.environ[option.variable] = option.text(value)


def _documentation() -> dict[str, str]:
    """The string below each field."""
    tree = ast.parse(inspect.getsource(config_module))
    [made] = [node for node in tree.body if getattr(node, "name", "") == "Config"]
    assert isinstance(made, ast.ClassDef)
    found = {}
    for field, text in zip(made.body, made.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[field.target.id] = inspect.cleandoc(str(text.value.value)).replace("\n", " ")
    return found


def _parser(option: Option) -> Callable[[str], Any]:
    kinds: dict[Any, Callable[[str], Any]] = {int: number, float: seconds, str: str}
    parse = kinds[option.plain]
    if not option.is_optional:
        return parse

    def parse_or_none(text: str) -> Any:
        return None if text.lower() == NOTHING else parse(text)

    # argparse names the function when it says no.
    parse_or_none.__name__ = getattr(parse, "__name__", "value")
    return parse_or_none


def number(text: str) -> int:
    """A whole number, with `K`, `M` or `G` behind it for bytes."""
    digits, factor = text, 1
    if text[-1:].lower() in SUFFIXES:
        digits, factor = text[:-1], SUFFIXES[text[-1].lower()]
    try:
        return int(digits) * factor
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number, with K, M or G for sizes"
        ) from None


def seconds(text: str) -> float:
    """A number of seconds."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None


def _metavar(option: Option) -> str:
    if option.plain is float:
        return "SECONDS"
    if option.plain is int:
        return "N"
    is_file = any(part in option.name for part in ("file", "certs", "uds"))
    return "FILE" if is_file and option.name != "uds_mode" else "TEXT"


def markdown(shown: Sequence[Option]) -> str:
    """A table of options, for the documentation."""
    rows = ["| flag | variable | default | |", "|---|---|---|---|"]
    for option in shown:
        default = option.text(option.default) or "nothing"
        if option.plain is bool:
            default = "on" if option.default else "off"
        choices = f" One of {', '.join(f'`{each}`' for each in option.choices)}." * bool(
            option.choices
        )
        again = " May be given again." if get_origin(option.plain) is tuple else ""
        text = option.help.replace("|", "\\|")
        rows.append(
            f"| `{option.flag}` | `{option.variable}` | `{default}` | {text}{choices}{again} |"
        )
    return "\n".join(rows)
