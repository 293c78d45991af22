"""What happened to each test, written down at once: a process that dies leaves what it did."""

from __future__ import annotations

import faulthandler
import json
import os
from pathlib import Path

# Suites and pytest replace it; the trace of a hang belongs in the log all the same.
_stderr = os.dup(2)


class Recorder:
    """Appends one JSON line per event to a file, and ends the process when a test takes too long.

    The runner starts the rest again in a new process, so that one test that hangs is one failure.
    """

    def __init__(self, path: str, limit_s: float) -> None:
        self._file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115 (open as long as it lives)
        self._limit_s = limit_s
        self._process = os.getpid()

    def started(self, test: str) -> None:
        """`test` begins."""
        self._write({"test": test})
        self.watch()

    def watch(self) -> None:
        """Gives the test that runs now its time."""
        faulthandler.dump_traceback_later(self._limit_s, exit=True, file=_stderr)

    def ended(self, test: str, status: str, detail: str = "") -> None:
        """`test` is over: ``passed``, ``failed`` or ``skipped``."""
        faulthandler.cancel_dump_traceback_later()
        self._write({"test": test, "status": status, "detail": detail})

    def _write(self, event: dict[str, str]) -> None:
        if os.getpid() == self._process:  # a test may fork
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()


def chosen() -> tuple[set[str], set[str] | None]:
    """The tests that must not run, and the only ones that may (None for all)."""
    plan = json.loads(Path(os.environ["PELTON_PLAN"]).read_text())
    only = plan["only"]
    return set(plan["without"]), None if only is None else set(only)
