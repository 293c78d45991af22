"""The developer's interface: what the documents promise of make is there."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.house.tree import ROOT

DAILY = ["setup", "build", "check", "test", "lint", "demo"]
OTHERS = ["bench", "conformance", "docs", "fuzz", "soak"]


@pytest.fixture(scope="module")
def listed() -> str:
    return subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("target", [*DAILY, *OTHERS])
def test_help_lists_the_target(listed: str, target: str) -> None:
    assert re.search(rf"make {target} +\w", listed)


def test_the_scripts_of_the_makefile_exist() -> None:
    named = set(re.findall(r"scripts/[\w-]+", (ROOT / "Makefile").read_text()))
    assert named
    missing = [script for script in named if not (ROOT / script).is_file()]
    assert not missing
