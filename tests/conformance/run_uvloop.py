"""Runs uvloop's own tests, with pelton's loop wherever they ask for uvloop's or asyncio's."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.conformance.run import Program
from tests.conformance.runner import conduct
from tests.conformance.suite import Suite

SUITE = Suite(
    "uvloop",
    "0.22.1",
    distribution="uvloop",
    # uvloop itself: its tests and their children import it.
    requirements=[
        "uvloop==0.22.1",
        "pytest==9.1.1",
        "psutil",
        "pyOpenSSL~=25.3.0",
        "aiohttp==3.14.3",
    ],
)


def program_for(minor: str, selection: Sequence[str]) -> Program:
    """uvloop's tests, which pytest finds: they are unittest's."""
    folder = SUITE.tests()
    return Program(
        python=SUITE.environment(minor),
        arguments=list(selection or ["tests"]),
        folder=folder,
        log=SUITE.place(minor) / "log.txt",
        environment={"PELTON_SWAPS": "swap,swap_uvloop"},
        test_seconds=40,
        run_seconds=1800,
    )


if __name__ == "__main__":
    sys.exit(conduct(SUITE.name, SUITE.version, program_for))
