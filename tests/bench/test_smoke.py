"""Our side of every benchmark runs: a short repetition of each case, without the peers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import ROOT

OURS = "pelton"


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "name",
    [
        "loop",
        pytest.param("echo", marks=pytest.mark.requires("cc")),
        "idle",
        pytest.param("http2", marks=pytest.mark.requires("h2load")),
        pytest.param("web", marks=pytest.mark.requires("wrk")),
        pytest.param("asgi", marks=pytest.mark.requires("wrk")),
        pytest.param("ws", marks=pytest.mark.requires("cc")),
        pytest.param("latency", marks=[pytest.mark.requires("wrk"), pytest.mark.requires("cc")]),
        "jobs",
    ],
)
def test_our_side_runs(name: str, tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", f"bench.run_{name}"),
            *("--quick", "--peer", OURS, "--output", str(output)),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    results = json.loads(output.read_text())
    assert results["medians"], "no case was measured"
    least = 0 if name == "idle" else 1e-9  # an idle loop may cost nothing at all
    assert all(medians[OURS] >= least for medians in results["medians"].values())
