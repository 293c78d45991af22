"""`pelton top` in a real terminal: it draws, follows, fits, ends by a key, and leaves no trace."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pelton._core import Broker, NewJob, new_job_id

PATIENCE = 60.0


class Terminal:
    """What a person sees and types."""

    def __init__(self, master: int, slave: int, process: subprocess.Popen[bytes]) -> None:
        self.master = master
        self.slave = slave
        self.process = process
        self.seen = ""

    def until(self, text: str) -> str:
        """What came up to `text`; AssertionError where it does not come."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen[-2000:]!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 1 << 16).decode()
        before, _, self.seen = self.seen.partition(text)
        return before

    def press(self, key: str) -> None:
        """A key."""
        os.write(self.master, key.encode())

    def resize(self, lines: int, columns: int) -> None:
        """The window has another size from now on."""
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


@contextmanager
def top(url: str) -> Iterator[Terminal]:
    """`pelton top` on a terminal of 24 lines of 80 characters."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "pelton", "top", "--broker", url, "--interval", "0.05"]
    process = subprocess.Popen(
        ["setsid", "--ctty", *command],  # so that Ctrl-C on it is a signal
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "", "LINES": ""},
    )
    terminal = Terminal(master, slave, process)
    terminal.resize(24, 80)
    try:
        yield terminal
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_it_draws_follows_and_leaves(tmp_path: Path, key: str) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    broker = Broker(url)
    jobs = [NewJob(id=new_job_id(), task="t", payload=b"{}", queue="letters") for _ in range(3)]
    broker.enqueue(jobs)
    with top(url) as terminal:
        before = termios.tcgetattr(terminal.slave)
        terminal.until("\x1b[?1049h")
        terminal.until("letters")
        terminal.until("   3 queued")
        broker.cancel(jobs[0].id)
        terminal.until("   2 queued")
        terminal.resize(6, 30)
        deadline = time.monotonic() + PATIENCE
        while len(terminal.until("\x1b[2J").split("\r\n")) > 6:
            assert time.monotonic() < deadline, "it does not fit the smaller window"
        terminal.press(key)
        terminal.until("\x1b[?1049l")
        assert terminal.process.wait(PATIENCE) == 0
        assert termios.tcgetattr(terminal.slave) == before, "the terminal is as it was"
    broker.close()
