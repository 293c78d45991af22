"""Runs websockets' tests of its asyncio side on pelton's loop."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.conformance.run import Program
from tests.conformance.runner import conduct
from tests.conformance.suite import Suite

SUITE = Suite(
    "websockets",
    "17.0.1",
    distribution="websockets",
    repository="https://github.com/python-websockets/websockets",
    requirements=[
        "websockets==17.0.1",
        "mitmproxy",
        "pytest==9.1.1",
        "python-socks[asyncio]",
        "trio",
        "werkzeug",
    ],
)


def program_for(minor: str, selection: Sequence[str]) -> Program:
    """Its asyncio tests and those of the legacy interface, which is asyncio's too."""
    return Program(
        python=SUITE.environment(minor),
        arguments=list(selection or ["tests/asyncio", "tests/legacy"]),
        folder=SUITE.tests(),
        log=SUITE.place(minor) / "log.txt",
        # Its tests wait for milliseconds; this factor is its own knob for slow machines.
        environment={"WEBSOCKETS_TESTS_TIMEOUT_FACTOR": "10"},
        test_seconds=60,
    )


if __name__ == "__main__":
    sys.exit(conduct(SUITE.name, SUITE.version, program_for))
