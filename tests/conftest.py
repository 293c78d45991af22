"""What every test shares: naming the system programs that it requires."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

# Each program by the name a test asks for: the executables it may have, and Debian's package.
PROGRAMS = {
    "chromium": (("chromium", "chromium-browser", "google-chrome"), "chromium"),
    "h2load": (("h2load",), "nghttp2-client"),
    "nghttp": (("nghttp",), "nghttp2-client"),
    "nginx": (("nginx",), "nginx-light"),
    "postgres": (("postgres",), "postgresql"),
    "rabbitmq-server": (("rabbitmq-server",), "rabbitmq-server"),
    "redis-server": (("redis-server",), "redis-server"),
    "wrk": (("wrk",), "wrk"),
    "cc": (("cc",), "gcc"),
    "curl": (("curl",), "curl"),
    "openssl": (("openssl",), "openssl"),
}

# What a marker requires without saying it.
IMPLIED = {"browser": ("chromium",)}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or under CI fail, a test whose programs are not there."""
    for program in required(item):
        if executable(program) is None:
            refuse(program)


def required(item: pytest.Item) -> Iterator[str]:
    """The programs that a test's markers name or imply."""
    for marker in item.iter_markers("requires"):
        yield from marker.args
    for name, programs in IMPLIED.items():
        if item.get_closest_marker(name):
            yield from programs


def executable(program: str) -> str | None:
    """The path of a program of `PROGRAMS`, or None; Debian keeps some off PATH."""
    servers = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", *servers))
    names, _ = PROGRAMS[program]
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def refuse(program: str) -> None:
    """Say what is missing: a skip for a developer, a failure where everything must run."""
    reason = f"requires {program} (Debian: apt-get install {PROGRAMS[program][1]})"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The path of Debian's chromium, for Playwright's `executable_path`."""
    path = executable("chromium")
    if path is None:
        refuse("chromium")
    assert path is not None
    return path
