"""Runs small programs of real libraries (tests/libraries) on pelton's loop, unmodified."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.conformance.run import Program
from tests.conformance.runner import conduct
from tests.conformance.suite import ROOT, Suite

PROGRAMS = ROOT / "tests/libraries"
SUITE = Suite(
    "libraries",
    "1",
    requirements=(PROGRAMS / "requirements.txt").read_text().splitlines(),
)


def program_for(minor: str, selection: Sequence[str]) -> Program:
    """The programs, which skip what is not installed on this machine."""
    return Program(
        python=SUITE.environment(minor),
        arguments=["-c", "/dev/null", "--rootdir", str(PROGRAMS), *(selection or ["."])],
        folder=PROGRAMS,
        log=SUITE.place(minor) / "log.txt",
        test_seconds=60,
    )


if __name__ == "__main__":
    sys.exit(conduct(SUITE.name, SUITE.version, program_for))
