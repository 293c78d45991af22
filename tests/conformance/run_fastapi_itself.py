"""Runs programs on FastAPI itself, from the index, on `pelton serve` beside uvicorn."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.conformance.run import Program
from tests.conformance.runner import conduct
from tests.conformance.suite import ROOT, Suite

PROGRAMS = ROOT / "tests/fastapi_itself"
SUITE = Suite(
    "fastapi_itself",
    "0.163.2",
    requirements=(PROGRAMS / "requirements.txt").read_text().splitlines(),
)


def program_for(minor: str, selection: Sequence[str]) -> Program:
    """The programs; nothing in them or in FastAPI knows of us."""
    return Program(
        python=SUITE.environment(minor),
        arguments=["-c", "/dev/null", "--rootdir", str(PROGRAMS), *(selection or ["."])],
        folder=PROGRAMS,
        log=SUITE.place(minor) / "log.txt",
        environment={"PELTON_FASTAPI_ITSELF": "1"},
        test_seconds=120,
    )


if __name__ == "__main__":
    sys.exit(conduct(SUITE.name, SUITE.version, program_for))
