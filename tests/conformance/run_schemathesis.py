"""Requests that schemathesis makes from schemas: the same answers from ours and from FastAPI.

One app runs under both frameworks, in memory, on each of our paths; ``examples/studio`` runs on our
server and does what it documents. Arguments go to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conformance.suite import ROOT, Suite, running_version

PLACE = Path(__file__).with_name("schemathesis")
SUITE = Suite(
    "schemathesis",
    "4.32.5",
    requirements=(PLACE / "requirements.txt").read_text().splitlines(),
)


def main(arguments: list[str]) -> int:
    """Runs the tests and returns pytest's exit status."""
    python = SUITE.environment(running_version())
    options = ["-q", "-c", "/dev/null", "--rootdir", str(PLACE), "-p", "no:cacheprovider"]
    # Not named as tests: the project's own run has nothing of what they import.
    files = [] if any(".py" in argument for argument in arguments) else ["twins.py", "studio.py"]
    command = [str(python), "-m", "pytest", *options, "--timeout", "600", *arguments, *files]
    path = os.pathsep.join((str(ROOT / "python"), str(ROOT)))
    return subprocess.call(command, cwd=PLACE, env={**os.environ, "PYTHONPATH": path})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
