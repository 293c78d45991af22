"""Runs FastAPI's own test suite with ``fastapi`` replaced by `pelton.web`.

The suite comes from the source distribution of the pinned version, into a virtual environment of
its own under ``target``. Differences that are known are in ``fastapi/expected.txt``; any other
failure fails the run. Arguments go to pytest: paths are those of the distribution (``tests/…``).

With ``--socket``, `TestClient` talks to our server over TCP (see ``inside/over_socket.py``); what
that cannot carry is in ``fastapi/expected_socket.txt``.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

from tests.conformance.run import INSIDE
from tests.conformance.verdict import Verdict, write_row

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
    """Runs the suite and returns pytest's exit status; a whole run writes its row."""
    over_socket = "--socket" in arguments
    arguments = [argument for argument in arguments if argument != "--socket"]
    is_whole = not any(argument.startswith(("tests", "-k")) for argument in arguments)
    python, suite = prepare()
    paths = [str(ROOT / "python"), str(HERE), str(PLACE / "metadata"), str(suite)]
    command = [str(python), "-m", "pytest", "-p", "pelton_as_fastapi", "-o", "addopts="]
    command += ["-o", f"timeout={90 if over_socket else 30}", "-p", "no:cacheprovider", "-q"]
    command += ["--tb=short", "-n", "2", "--dist", "loadfile"]
    lists = [HERE / "expected.txt"]
    if over_socket:
        command += ["-p", "over_socket"]
        paths.append(str(INSIDE))
        lists.append(HERE / "expected_socket.txt")
    if is_whole:
        command.append("tests")
    # The suite reads files relative to its root.
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PELTON_EXPECTED": os.pathsep.join(map(str, lists)),
    }
    with subprocess.Popen(
        [*command, *arguments], cwd=suite, env=environment, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        last = ""
        for line in running.stdout:
            print(line, end="", flush=True)
            last = line if " passed" in line else last
    if is_whole and running.returncode in (0, 1):
        record(last, over_socket)
    return running.returncode


def record(summary: str, over_socket: bool) -> None:
    """Writes the row of a whole run, from pytest's last line."""
    counts = {kind: int(count) for count, kind in re.findall(r"(\d+) (\w+)", summary)}

    def many(*kinds: str) -> list[str]:
        return [""] * sum(counts.get(kind, 0) for kind in kinds)

    verdict = Verdict(
        passed=many("passed"),
        expected=many("xfailed", "xpassed"),
        skipped=many("skipped"),
        wrong=dict.fromkeys(map(str, range(len(many("failed", "error", "errors")))), ""),
    )
    command = "python -m tests.conformance.run_fastapi"
    name = "fastapi over TCP" if over_socket else "fastapi"
    command += " --socket" if over_socket else ""
    write_row(name, VERSION, platform.python_version(), verdict, command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
