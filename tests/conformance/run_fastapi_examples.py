"""Compares the answers of FastAPI's documentation examples: on FastAPI, and on `pelton.web`.

Every example that has an app is asked for its OpenAPI document and for each of its operations.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.conformance.run import INSIDE
from tests.conformance.run_fastapi import HERE, ROOT, VERSION, prepare
from tests.conformance.verdict import Verdict, report, write_row

KNOWN: dict[str, str] = {}
"""Examples that may differ, and why."""


def main() -> int:
    """Runs both, compares, writes the row; 1 for a difference that is not known."""
    python, suite = prepare()
    with tempfile.TemporaryDirectory(prefix="pelton-examples-") as scratch:
        theirs = run(python, suite, Path(scratch, "theirs.json"), ours=False)
        ours = run(python, suite, Path(scratch, "ours.json"), ours=True)
    verdict = Verdict()
    for name in theirs:
        same = theirs[name] == ours.get(name)
        if theirs[name] == "no app" and same:
            verdict.skipped.append(name)
        elif same:
            verdict.passed.append(name)
        elif name in KNOWN:
            verdict.expected.append(name)
        else:
            verdict.wrong[name] = difference(theirs[name], ours.get(name))
    report("FastAPI's examples", verdict)
    command = "python -m tests.conformance.run_fastapi_examples"
    write_row("fastapi's examples", VERSION, platform.python_version(), verdict, command)
    return 1 if verdict.wrong else 0


def run(python: Path, suite: Path, target: Path, *, ours: bool) -> Any:
    """What `inside/examples.py` found."""
    paths = [str(ROOT / "python"), str(HERE)] if ours else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, str(suite)])}
    environment.pop("PELTON_AS_FASTAPI", None)
    if ours:
        environment["PELTON_AS_FASTAPI"] = "1"
    # Some examples write files, and some serve those of a front end. The same folder for both:
    # its name is in some answers.
    folder = target.parent / "examples"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(suite / "docs_src", folder / "docs_src")
    for name in ("dist", "static", "templates"):
        (folder / name).mkdir()
        (folder / name / "index.html").write_text(f"<p>{name}</p>")
    command = [str(python), str(INSIDE / "examples.py"), str(folder), str(target)]
    subprocess.run(command, check=True, cwd=folder, env=environment, timeout=600)
    return json.loads(target.read_text())


def difference(theirs: Any, ours: Any) -> str:
    """The first part of two outcomes that is not the same."""
    if not isinstance(theirs, dict) or not isinstance(ours, dict):
        return f"theirs {theirs!r:.400}\nours   {ours!r:.400}"
    for key in theirs.keys() | ours.keys():
        if theirs.get(key) != ours.get(key):
            return f"{key}\ntheirs {theirs.get(key)!r:.700}\nours   {ours.get(key)!r:.700}"
    return "no difference"


if __name__ == "__main__":
    sys.exit(main())
