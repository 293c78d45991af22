"""Runs Trio's own suite with `trio.run` replaced by `pelton.trio.run`: every test is a guest.

The tests are installed with Trio. Those of guest mode itself use asyncio as the host, and get our
loop.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.conformance.run import Program
from tests.conformance.runner import conduct
from tests.conformance.suite import Suite

SUITE = Suite(
    name="trio",
    version="0.35.0",
    requirements=[
        "trio==0.35.0",
        "astor>=0.8,<1",
        "async_generator>=1.10,<2",
        "pytest>=9,<10",
        "trustme>=1.2,<2",
    ],
)


def program_for(minor: str, selection: Sequence[str]) -> Program:
    """The whole suite without its slow tests."""
    folder = SUITE.place(minor)
    python = SUITE.environment(minor)
    installed = python.parents[1] / f"lib/python{minor}/site-packages/trio"
    options = ["-p", "trio._tests.pytest_plugin", "-p", "trio_as_guest", "--skip-optional-imports"]
    options.append(f"--rootdir={installed}")
    return Program(
        python=python,
        arguments=[*options, "--pyargs", *(selection or ["trio"])],
        folder=folder,
        log=folder / "log.txt",
    )


if __name__ == "__main__":
    sys.exit(conduct(SUITE.name, SUITE.version, program_for, every_python=True))
