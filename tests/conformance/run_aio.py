"""Runs CPython's own tests of asyncio's primitives, which are replaced by pelton.aio's.

Each module twice, in a process of its own: on pelton's loop, and on asyncio's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.conformance.run import Outcome, Program, progress
from tests.conformance.runner import conduct
from tests.conformance.suite import CACHE, interpreter_of

#: Where the tests of what pelton.aio has are, in the versions that have them.
MODULES = (
    "test_eager_task_factory",
    "test_locks",
    "test_queues",
    "test_streams",
    "test_taskgroups",
    "test_tasks",
    "test_timeouts",
    "test_waitfor",
)

#: Before the names of tests that ran on asyncio's loop.
THERE = "on asyncio: "


@dataclass
class Primitives(Program):
    """The modules, one after the other, on both loops."""

    def run(
        self,
        *,
        loop: str = "pelton",
        only: Sequence[str] | None = None,
        without: Sequence[str] = (),
    ) -> dict[str, Outcome]:
        """On "asyncio", everything is asyncio's: to see what fails there too."""
        outcomes: dict[str, Outcome] = {}
        swapped = {"PELTON_AIO": "1"} if loop == "pelton" else {}
        for prefix, own_loop in (("", loop), (THERE, "asyncio")):
            here = None if only is None else of_loop(only, prefix)
            for module in self.arguments:
                if here is not None and not any(test.startswith(f"{module}.") for test in here):
                    continue
                progress(f"{prefix}{module}")
                program = replace(self, arguments=[module], environment=swapped)
                found = Program.run(
                    program, loop=own_loop, only=here, without=of_loop(without, prefix)
                )
                outcomes |= {prefix + test: outcome for test, outcome in found.items()}
        return outcomes


def of_loop(tests: Sequence[str], prefix: str) -> list[str]:
    """The tests that ran on one of the loops, without the prefix."""
    return [
        test.removeprefix(THERE) for test in tests if test.startswith(THERE) == (prefix == THERE)
    ]


def program_for(minor: str, selection: Sequence[str]) -> Program:
    """The modules of `minor`'s own suite."""
    folder = CACHE / f"aio-py{minor}"
    folder.mkdir(parents=True, exist_ok=True)
    python = interpreter_of(minor)
    package = python.parents[1] / f"lib/python{minor}/test/test_asyncio"
    there = [module for module in MODULES if (package / f"{module}.py").exists()]
    return Primitives(
        python=python,
        arguments=[f"test.test_asyncio.{module}" for module in selection or there],
        folder=folder,
        log=folder / "log.txt",
        framework="unittest",
        run_seconds=900,
    )


if __name__ == "__main__":
    sys.exit(conduct("aio", None, program_for, every_python=True))
