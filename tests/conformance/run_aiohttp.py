"""Runs aiohttp's own suite on pelton's loop."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.conformance.run import Program
from tests.conformance.runner import conduct
from tests.conformance.suite import Suite

SUITE = Suite(
    "aiohttp",
    "3.14.3",
    distribution="aiohttp",
    # Its requirements/test-common.in, without blockbuster: that allows blocking calls by the names
    # of the standard library's files, which are not ours.
    requirements=[
        "aiohttp[speedups]==3.14.3",
        "freezegun",
        "isal",
        "pkgconfig",
        "proxy.py>=2.4.4rc5",
        "pytest==9.1.1",
        "pytest-cov",
        "pytest-mock",
        "pytest-timeout",
        "pytest-xdist",
        "pytest_codspeed",
        "python-on-whales",
        "re-assert",
        "setuptools-git",
        "trustme",
        "wait-for-it",
        "zlib_ng",
    ],
)


def program_for(minor: str, selection: Sequence[str]) -> Program:
    """The suite without its source beside it: the installed aiohttp is compiled."""
    folder = SUITE.tests("tests", "setup.cfg")
    options = ["--aiohttp-loop=pyloop", "-m", "not dev_mode and not autobahn and not internal"]
    options += ["-o", "addopts=", "-n", "2", "--ignore-glob=*/test_benchmarks_*"]
    return Program(
        python=SUITE.environment(minor),
        arguments=[*options, *(selection or ["tests"])],
        folder=folder,
        log=SUITE.place(minor) / "log.txt",
        test_seconds=120,
        run_seconds=2400,
    )


if __name__ == "__main__":
    sys.exit(conduct(SUITE.name, SUITE.version, program_for))
