"""A disk that is full for a while: clear errors, no job lost, and all goes on with space."""

from __future__ import annotations

import asyncio
import logging
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pelton.jobs import BrokerError, Jobs
from tests.jobs.support import until, working

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio, pathlib, sys
from tests.jobs import test_full_disk
asyncio.run(test_full_disk.fill(pathlib.Path(sys.argv[1])))
"""


def limit(size: int) -> None:
    """This process writes no file beyond so many bytes (-1: it may): Python ignores the signal."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size if size >= 0 else most, most))


class Said(logging.Handler):
    """What the worker logs."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


async def fill(folder: Path) -> None:
    """What the test runs in a process of its own."""
    jobs = Jobs(f"sqlite:///{folder / 'jobs.db'}")
    gate = asyncio.Event()
    begun = 0
    said = Said()
    logging.getLogger("pelton.jobs").addHandler(said)

    @jobs.task
    async def waits(text: str) -> str:
        nonlocal begun
        begun += 1
        await gate.wait()
        return text * 5000

    async with working(jobs) as worker:
        accepted = [await waits.enqueue(str(n)) for n in range(10)]
        await until(lambda: begun == 10, "all have begun")
        limit(1)
        for _ in range(2):
            with pytest.raises(BrokerError, match=r"jobs\.db: .*check the disk"):
                await waits.enqueue("no")
        gate.set()  # nor can their results be written
        with pytest.raises(BrokerError, match="check the disk"):
            await waits.enqueue("no")
        # There is space again only once the worker has met that.
        await until(lambda: any("cannot write" in text for text in said.messages), "it is logged")
        assert (await accepted[0].info()).state == "running"
        limit(-1)
        for job in accepted:
            await job.result(60)
        assert worker.running == 0
        (queue,) = await jobs.queue_records()
        assert {state: n for state, n in queue.counts.items() if n} == {"succeeded": len(accepted)}
    print("went on", flush=True)


@pytest.mark.timeout(120)
def test_jobs_go_on_when_there_is_space_again(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT / 'python'}:{ROOT}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "went on\n"
