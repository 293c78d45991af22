"""Runs FastAPI's own test suite with ``fastapi`` replaced by `pelton.web`.

The suite comes from the source distribution of the pinned version, into a virtual environment of
its own under ``target``. Differences that are known are in ``fastapi/expected.txt``; any other
failure fails the run. Arguments go to pytest: paths are those of the distribution (``tests/…``).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

VERSION = "0.163.2"
ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent / "fastapi"
PLACE = ROOT / "target/conformance/fastapi"


def prepare() -> tuple[Path, Path]:
    """The interpreter of the suite's environment and the unpacked distribution."""
    python = PLACE / "venv/bin/python"
    if not python.exists():
        venv.create(PLACE / "venv", with_pip=True)
    wanted = (HERE / "requirements.txt").read_text()
    installed = PLACE / "installed.txt"
    if not installed.exists() or installed.read_text() != wanted:
        pip(python, "install", "--quiet", "-r", str(HERE / "requirements.txt"))
        installed.write_text(wanted)
    suite = PLACE / f"fastapi-{VERSION}"
    if not suite.exists():
        options = ("--quiet", "--no-deps", "--no-binary", ":all:")
        pip(python, "download", *options, "--dest", str(PLACE), f"fastapi=={VERSION}")
        with tarfile.open(PLACE / f"fastapi-{VERSION}.tar.gz") as archive:
            archive.extractall(PLACE, filter="data")
    # What asks whether FastAPI is installed, as OpenTelemetry's instrumentation does, finds it.
    metadata = PLACE / f"metadata/fastapi-{VERSION}.dist-info/METADATA"
    metadata.parent.mkdir(parents=True, exist_ok=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: fastapi\nVersion: {VERSION}\n")
    return python, suite


def pip(python: Path, *arguments: str) -> None:
    """Runs pip in the suite's environment."""
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", *arguments], check=True)


def main(arguments: list[str]) -> int:
    """Runs the suite and returns pytest's exit status."""
    python, suite = prepare()
    paths = [str(ROOT / "python"), str(HERE), str(PLACE / "metadata"), str(suite)]
    command = [str(python), "-m", "pytest", "-p", "pelton_as_fastapi", "-o", "addopts="]
    command += ["-o", "timeout=30", "-p", "no:cacheprovider", "-q", "--tb=short"]
    command += ["-n", "2", "--dist", "loadfile"]
    if not any(argument.startswith("tests") for argument in arguments):
        command.append("tests")
    # The suite reads files relative to its root.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.call([*command, *arguments], cwd=suite, env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
