"""Runs uvicorn's own suite on pelton's loop."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.conformance.run import Program
from tests.conformance.runner import conduct
from tests.conformance.suite import Suite

SUITE = Suite(
    "uvicorn",
    "0.54.0",
    distribution="uvicorn",
    requirements=[
        "uvicorn[standard]==0.54.0",
        "a2wsgi==1.10.10",
        "cryptography>=44.0.3",
        "httpx2",
        "pytest==9.1.1",
        "pytest-codspeed>=4.1.1",
        "pytest-mock==3.15.1",
        "pytest-xdist[psutil]==3.8.0",
        "trustme==1.2.1",
        "wsproto==1.3.2",
        "zttp>=0.0.34",
    ],
)


def program_for(minor: str, selection: Sequence[str]) -> Program:
    """The suite with its configuration (pyproject.toml)."""
    return Program(
        python=SUITE.environment(minor),
        arguments=["-n", "2", "--ignore=tests/benchmarks", *(selection or ["tests"])],
        folder=SUITE.tests("tests", "pyproject.toml"),
        log=SUITE.place(minor) / "log.txt",
        test_seconds=60,
    )


if __name__ == "__main__":
    sys.exit(conduct(SUITE.name, SUITE.version, program_for))
