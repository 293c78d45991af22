"""The command `pelton`: its commands are the modules of this package named in `COMMANDS`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from pelton._supervision import child
from pelton.cli import log, options
from pelton.cli.errors import CommandError

__all__ = ["COMMANDS", "CommandError", "main"]

COMMANDS = (
    "run",
    "serve",
    "worker",
    "scheduler",
    "inspect",
    "control",
    "top",
    "doctor",
    "routes",
    "settings",
)
"""Modules with `add_parser(subparsers)` and `run(args) -> int`, in the order of `--help`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command of `argv` (default: `sys.argv[1:]`) and returns its exit code.

    0: done; 2: the command line, an environment variable or APP is wrong; 1: it failed. argparse's
    own errors and `--help` raise SystemExit, with the same codes.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    # A server does not carry the code of all other commands.
    args = _parser(given[:1] if given[:1] and given[0] in COMMANDS else COMMANDS).parse_args(given)
    try:
        options.resolve(args)
        log.configure(args.command, args.log_level, args.log_format, args.log_config)
        child.start(getattr(args, "stop_timeout", 10.0))
        command = importlib.import_module(f"pelton.cli.{args.command}")
        code: int = command.run(args)
    except CommandError as error:
        print(f"pelton: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:
        # The reader of our output (`head`, say) has seen enough.
        sys.stderr.close()
        return 0
    return code


def _parser(commands: Sequence[str]) -> argparse.ArgumentParser:
    from pelton._core import __version__

    parser = argparse.ArgumentParser(
        prog="pelton",
        description="One engine for asynchronous Python backends: a web server and durable jobs.",
        epilog="Each option is also an environment variable; `pelton COMMAND --help` names it.",
    )
    parser.add_argument("--version", action="version", version=f"pelton {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in commands:
        importlib.import_module(f"pelton.cli.{name}").add_parser(subparsers)
    return parser
