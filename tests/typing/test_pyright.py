"""What pyright sees: the same as mypy, in the same files.

By basedpyright, pyright's engine in a package that brings its own runtime: pyright's own package
fetches one when it is run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("[!t]*.py")))
def test_pyright_accepts_what_is_right_and_refuses_what_is_wrong(name: str, tmp_path: Path) -> None:
    pytest.importorskip("basedpyright")
    source = FOLDER / name
    settings = {
        "include": [str(source)],
        "extraPaths": [str(ROOT / "python")],
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": False,
        "pythonVersion": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "-p", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 1, done.stdout
    told = {
        line["range"]["start"]["line"] + 1: line["message"] for line in found["generalDiagnostics"]
    }
    lines = source.read_text(encoding="utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if "# type: ignore" in line}
    assert wrong, "the file has something that is wrong"
    assert told.keys() == wrong, {line: told.get(line, "accepted") for line in told.keys() ^ wrong}
