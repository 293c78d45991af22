"""Helpers for tests of the compiled job engine: brokers in files, jobs, workers, futures."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pelton import _core

# Tests are about what is written, not about the disk.
NORMAL = "?synchronous=normal"


def open_broker(directory: Path) -> _core.Broker:
    """A broker on the file that all brokers of this directory share."""
    return _core.Broker(f"sqlite:///{directory}/jobs.db{NORMAL}")


def new_job(**options: Any) -> _core.NewJob:
    """A job of task "task", without arguments."""
    options = {"id": _core.new_job_id(), "task": "task", "payload": b"[]"} | options
    return _core.NewJob(**options)


class Worker:
    """A worker session that notes what it was told."""

    def __init__(self, broker: _core.Broker, **options: Any) -> None:
        self.cancelled: list[str] = []
        self.lost: list[str] = []
        options = {"name": "worker", "queues": [], "concurrency": 4} | options
        self.session = _core.WorkerSession(
            broker, on_cancel=self.cancelled.extend, on_lost=self.lost.extend, **options
        )

    def lease(self, limit: int = 100, wait: float = 0.0) -> list[_core.LeasedJob]:
        """Jobs, by the blocking form."""
        leased = self.session.lease(limit, wait)
        assert leased is not None
        return leased

    def lease_one(self) -> _core.LeasedJob:
        """Exactly one job."""
        (leased,) = self.lease(1, 10.0)
        return leased

    def finish(self, *outcomes: _core.Outcome) -> list[str]:
        """The states that outcomes led to."""
        settled = self.session.finish(outcomes)
        assert settled is not None
        return [one.state for one in settled]

    def succeed(self, *jobs: _core.LeasedJob) -> list[str]:
        """Every one of them with the result 1."""
        return self.finish(*(_core.Outcome.success(job, b"1") for job in jobs))


async def answer(call: Callable[..., None], *args: Any, **options: Any) -> Any:
    """What `call` answers to a future of this loop."""
    waiter = asyncio.get_running_loop().create_future()
    assert call(*args, waiter=waiter, **options) is None
    return await waiter


def sql(directory: Path, *statements: str) -> str:
    """Runs statements on the broker's file; the rows of the last one as text.

    In a process of its own: Python's sqlite3 is another copy of SQLite than the broker's, and
    within one process two copies do not see each other's locks.
    """
    program = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1])\n"
        "with connection:\n"
        "    for statement in sys.argv[2:]:\n"
        "        rows = connection.execute(statement).fetchall()\n"
        "print(rows)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(directory / "jobs.db"), *statements],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.strip()


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Waits for `condition`, for a bounded time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        os.sched_yield()
        time.sleep(0.002)
