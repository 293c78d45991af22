"""A `pelton` command as a process of its own, in a directory of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.cli.waiting import BOUND, is_gone, until

ROOT = Path(__file__).parents[2]


class Program:
    """A running command: what it printed, its processes, and how to end it."""

    def __init__(self, *arguments: str, directory: Path, **environment: str) -> None:
        self.directory = directory
        self._out, self._err = directory / "stdout.txt", directory / "stderr.txt"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pelton", *arguments],
                cwd=directory,
                env=clean_environment() | {"TMPDIR": str(directory)} | environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self.pid = self._process.pid

    @property
    def out(self) -> str:
        """What it wrote to stdout so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it wrote to stderr so far."""
        return self._err.read_text()

    def url(self) -> str:
        """Where its application is, once it serves."""

        def address() -> str | None:
            assert self._process.poll() is None, f"it ended: {self.err}"
            lines = [line.split() for line in self.out.splitlines()]
            # The banner is complete with its last line.
            if ["stop", "Ctrl-C"] not in lines:
                return None
            return next(line[1] for line in lines if line[:1] == ["app"])

        return until(address, f"the application; stderr: {self.err}")

    def parts(self, name: str) -> list[psutil.Process]:
        """The processes of the tree that run `pelton NAME`, oldest first."""
        found = []
        for child in psutil.Process(self.pid).children(recursive=False):
            with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                if child.cmdline()[3] == name:
                    found.append(child)
        return sorted(found, key=lambda process: process.pid)

    def tree(self) -> list[int]:
        """The ids of all its processes, its own first."""
        own = psutil.Process(self.pid)
        return [self.pid, *(child.pid for child in own.children(recursive=True))]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Asks it to stop: its exit code."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Waits for its end: its exit code."""
        return self._process.wait(BOUND)

    def kill(self) -> None:
        """Ends it at once, and no other process with it."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def running(*arguments: str, directory: Path, **environment: str) -> Iterator[Program]:
    """A command that is ended with all its processes, whatever the test did."""
    program = Program(*arguments, directory=directory, **environment)
    try:
        yield program
    finally:
        left = [] if is_gone(program.pid) else program.tree()
        program.kill()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def clean_environment() -> dict[str, str]:
    """This process's environment without Pelton's variables, with this Pelton importable."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PELTON_")}
    return kept | {
        "PYTHONPATH": str(ROOT / "python"),
        "PYTHONUNBUFFERED": "1",
    }
