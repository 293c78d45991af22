"""One run of a suite: its tests in as many processes as hang or die, each test's outcome."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.suite import ROOT

INSIDE = Path(__file__).with_name("inside")

#: A suite that dies this often in one run is not started again.
DEATHS_MAX = 40


@dataclass(frozen=True)
class Outcome:
    """What became of a test: ``passed``, ``failed`` or ``skipped``, and the trace or the reason."""

    status: str
    detail: str = ""


@dataclass
class Program:
    """How a suite is started: by pytest, or by unittest on modules.

    `arguments` are pytest's, or names of modules. The suite runs in `folder`, under `python`,
    with `environment` added to this process's.
    """

    python: Path
    arguments: Sequence[str]
    folder: Path
    log: Path
    framework: str = "pytest"
    environment: Mapping[str, str] = field(default_factory=dict)
    path: Sequence[Path] = ()
    test_seconds: float = 60.0
    run_seconds: float = 1800.0

    def run(
        self,
        *,
        loop: str = "pelton",
        only: Sequence[str] | None = None,
        without: Sequence[str] = (),
    ) -> dict[str, Outcome]:
        """Every test's outcome on pelton's loop or asyncio's (`loop`).

        `only` are tests by their full name; `without` also beginnings with a star. A test that
        takes longer than `test_seconds`, or in which the process dies, has failed; the rest goes
        on in a new process.
        """
        outcomes: dict[str, Outcome] = {}
        deadline = time.monotonic() + self.run_seconds
        for _ in range(DEATHS_MAX):
            with tempfile.TemporaryDirectory(prefix="pelton-conformance-") as scratch:
                plan: Mapping[str, object] = {"only": only, "without": [*without, *outcomes]}
                left = max(self.test_seconds, deadline - time.monotonic())
                died = self._start(Path(scratch), plan, loop, left, outcomes)
            if not died:
                return outcomes
        raise RuntimeError(f"the suite died {DEATHS_MAX} times; see {self.log}")

    def _start(
        self,
        scratch: Path,
        plan: Mapping[str, object],
        loop: str,
        seconds: float,
        outcomes: dict[str, Outcome],
    ) -> bool:
        """One process. Whether it died on the way, and must be followed by another."""
        (scratch / "plan.json").write_text(json.dumps(plan))
        record = scratch / "record.jsonl"
        record.touch()
        command = self.command()
        environment = self._environment(scratch, loop)
        with self.log.open("a") as log:
            log.write(f"\n$ cd {self.folder} && {shlex.join(command)}  # on {loop}\n")
            log.flush()
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status: int | None = process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                status = None
                process.kill()
                process.wait()
        running = read_record(record, outcomes)
        if running is not None:
            how = "hung" if status in (None, 1) else f"its process ended with status {status}"
            outcomes[running] = Outcome("failed", f"{how}; see {self.log}")
            return True
        if status is None or status < 0 or (self.framework == "pytest" and status not in (0, 1, 5)):
            raise RuntimeError(f"the suite ended with status {status}; see {self.log}")
        return False

    def command(self) -> list[str]:
        """What is started."""
        if self.framework == "unittest":
            return [str(self.python), str(INSIDE / "unittest_recorder.py"), *self.arguments]
        options = ["-p", "pytest_recorder", "-p", "no:cacheprovider", "-q", "--tb=short"]
        options.append("--continue-on-collection-errors")
        return [str(self.python), "-m", "pytest", *options, *self.arguments]

    def _environment(self, scratch: Path, loop: str) -> dict[str, str]:
        path = [INSIDE, ROOT / "python", *self.path]
        return {
            **os.environ,
            **self.environment,
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "PELTON_LOOP": loop,
            "PELTON_PLAN": str(scratch / "plan.json"),
            "PELTON_RECORD": str(scratch / "record.jsonl"),
            "PELTON_TEST_SECONDS": str(self.test_seconds),
        }


def read_record(record: Path, outcomes: dict[str, Outcome]) -> str | None:
    """Adds what a process recorded. The test that it was in when it ended, if there is one."""
    running: dict[str, None] = {}
    for line in record.read_text().splitlines():
        event = json.loads(line)
        test = event["test"]
        if "status" in event:
            running.pop(test, None)
            outcomes[test] = Outcome(event["status"], event["detail"])
        else:
            running[test] = None
    return next(iter(running), None)


def describe(version_of: Path) -> str:
    """The full version of an interpreter."""
    question = "import platform; print(platform.python_version())"
    answer = subprocess.run(
        [version_of, "-c", question], capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


def progress(text: str) -> None:
    """A line for whoever waits."""
    print(f"   {text}", file=sys.stderr, flush=True)
