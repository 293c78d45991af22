"""The code of the tutorial and of the README runs as it is printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import program
from tests.house.tree import ROOT

PAGES = [*sorted(ROOT.glob("docs/tutorial/*.md")), ROOT / "README.md"]
TUTORIAL = [path for path in PAGES if program(path).strip()]

# A page that enqueues jobs and waits for them takes a few seconds; one that hangs fails.
SECONDS_MAX = 50


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIAL, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_blocks_run_in_order(path: Path, tmp_path: Path) -> None:
    # The pages say "put it into app.py", so that is its name here.
    script = tmp_path / "app.py"
    script.write_text(program(path))
    ran = subprocess.run(
        [sys.executable, "-W", "error", script.name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert ran.returncode == 0, f"{path.name} (line numbers are the page's):\n{ran.stderr}"


def test_the_tutorial_is_found() -> None:
    assert len(TUTORIAL) > 1
