"""What every runner does: prepare, run on each Python asked for, judge, say so, write the row."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from tests.conformance.run import Program, describe
from tests.conformance.suite import VERSIONS, build_for, find_interpreter, running_version
from tests.conformance.verdict import Registry, judge, report, write_row


def conduct(
    name: str,
    version: str | None,
    program_for: Callable[[str, Sequence[str]], Program],
    *,
    every_python: bool = False,
) -> int:
    """Runs a suite as the command line says, and returns the exit status: 0 for no surprise.

    `program_for` makes the program for a Python's minor version and a selection (pytest's
    arguments or modules; empty for all). `version` is the suite's; None for the interpreter's own.
    """
    parser = argparse.ArgumentParser(description=f"Runs {name}'s tests on pelton's loop.")
    parser.add_argument("--python", action="append", choices=VERSIONS, help="default: see docs")
    parser.add_argument("--loop", default="pelton", choices=("pelton", "asyncio"))
    parser.add_argument("selection", nargs="*", help="parts of the suite; no row is written then")
    options = parser.parse_args()
    found = [minor for minor in VERSIONS if find_interpreter(minor)]
    wrong = 0
    for minor in options.python or (found if every_python else [running_version()]):
        build_for(minor)
        program = program_for(minor, options.selection)
        program.log.parent.mkdir(parents=True, exist_ok=True)
        program.log.write_text("")
        registry = Registry.read(name, minor)
        outcomes = program.run(loop=options.loop, without=registry.names_left_out())
        whole = not options.selection and options.loop == "pelton"
        verdict = judge(outcomes, registry, program, whole=whole)
        python = describe(program.python)
        report(f"{name} on Python {python}", verdict)
        if whole:
            command = f"python -m tests.conformance.run_{name}"
            command += f" --python {minor}" if every_python else ""
            write_row(name, version or python, python, verdict, command)
        wrong += len(verdict.wrong)
    print(f"{name}: {'as expected' if not wrong else f'{wrong} surprises'}", file=sys.stderr)
    return 1 if wrong else 0
