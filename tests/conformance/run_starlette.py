"""Runs Starlette's own suite with pelton.web's classes in the place of Starlette's."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.conformance.run import Program
from tests.conformance.runner import conduct
from tests.conformance.suite import Suite

SUITE = Suite(
    "starlette",
    "1.10.0",
    distribution="starlette",
    requirements=[
        "starlette==1.10.0",
        "pydantic==2.14.3",
        "python-multipart==0.0.34",
        "anyio[trio]",
        "a2wsgi",
        "httpx2",
        "itsdangerous",
        "jinja2",
        "pyyaml",
        "pytest==9.1.1",
        "typing-extensions",
    ],
)


def program_for(minor: str, selection: Sequence[str]) -> Program:
    """The suite with its configuration (pyproject.toml)."""
    return Program(
        python=SUITE.environment(minor),
        arguments=["-p", "swap_starlette", *(selection or ["tests"])],
        folder=SUITE.tests("tests", "pyproject.toml"),
        log=SUITE.place(minor) / "log.txt",
        test_seconds=60,
    )


if __name__ == "__main__":
    sys.exit(conduct(SUITE.name, SUITE.version, program_for))
