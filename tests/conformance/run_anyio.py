"""Runs AnyIO's own suite on pelton's loop: its asyncio backend, plain and with eager tasks.

AnyIO asks asyncio for its loops, and gets ours. Its Trio backend and uvloop are left out: neither
is ours. `tests/nursery/test_anyio.py` has programs that name our loop factory themselves.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.conformance.run import Program
from tests.conformance.runner import conduct
from tests.conformance.suite import Suite

SUITE = Suite(
    name="anyio",
    version="4.16.0",
    distribution="anyio",
    requirements=[
        "anyio==4.16.0",
        "blockbuster==1.5.29",
        "hypothesis>=6.138,<7",
        "psutil>=7,<8",
        "pytest>=9,<10",
        "pytest-mock>=3.14,<4",
        "pytest-timeout>=2.4,<3",
        "trustme>=1.2,<2",
        "truststore>=0.10,<1",
    ],
)


def program_for(minor: str, selection: Sequence[str]) -> Program:
    """The whole suite; each of its tests has 20 s by its own configuration."""
    return Program(
        python=SUITE.environment(minor),
        arguments=selection or ["tests"],
        folder=SUITE.source(),
        log=SUITE.place(minor) / "log.txt",
        run_seconds=1500,
    )


if __name__ == "__main__":
    sys.exit(conduct(SUITE.name, SUITE.version, program_for, every_python=True))
