"""Runs `test.test_asyncio` of each interpreter found, its loops replaced by pelton's.

Whole modules, each in a process of its own; a test that hangs has failed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tests.conformance.run import Outcome, Program, progress
from tests.conformance.runner import conduct
from tests.conformance.suite import CACHE, interpreter_of


@dataclass
class Modules(Program):
    """A program for each module, one after the other."""

    def run(
        self,
        *,
        loop: str = "pelton",
        only: Sequence[str] | None = None,
        without: Sequence[str] = (),
    ) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        for module in self.arguments:
            if only is not None and not any(test.startswith(f"{module}.") for test in only):
                continue
            if f"{module}.*" in without:
                continue
            progress(module)
            program = Program(
                python=self.python,
                arguments=[module],
                folder=self.folder,
                log=self.log,
                framework="unittest",
                environment=self.environment,
                run_seconds=self.run_seconds,
            )
            outcomes |= program.run(loop=loop, only=only, without=without)
        return outcomes


def program_for(minor: str, selection: Sequence[str]) -> Program:
    """The modules of `minor`'s own suite."""
    python = interpreter_of(minor)
    folder = CACHE / f"cpython-py{minor}"
    folder.mkdir(parents=True, exist_ok=True)
    package = python.parents[1] / f"lib/python{minor}/test/test_asyncio"
    modules = sorted(path.stem for path in package.glob("test_*.py"))
    if not modules:
        sys.exit(f"Python {minor} has no test.test_asyncio (Debian: libpython{minor}-testsuite)")
    chosen = selection or [module for module in modules if "windows" not in module]
    return Modules(
        python=python,
        arguments=[f"test.test_asyncio.{module}" for module in chosen],
        folder=folder,
        log=folder / "log.txt",
        run_seconds=900,
    )


if __name__ == "__main__":
    sys.exit(conduct("cpython", None, program_for, every_python=True))
