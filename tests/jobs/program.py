"""Tasks that other processes can import: for the process pool, and for killed workers.

The database is PELTON_BROKER's.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextvars import ContextVar
from pathlib import Path

from pydantic import BaseModel

from pelton.jobs import JobContext, Jobs, Retry

origin: ContextVar[str] = ContextVar("origin", default="nowhere")

jobs = Jobs(context=[origin])


@jobs.task(cpu=True, retries=0)
def where_from() -> str:
    """What rode along."""
    return origin.get()


class Size(BaseModel):
    """Typed arguments cross the process boundary, too."""

    width: int
    raw: bytes = b"ok"


@jobs.task(cpu=True, retries=0)
def area(size: Size, height: int = 2) -> int:
    """Proves its type by using it."""
    assert isinstance(size, Size)
    return size.width * height


@jobs.task(cpu=True, retries=0)
def process_id() -> int:
    """Where it ran."""
    return os.getpid()


@jobs.task(cpu=True, retries=2, backoff=0.01)
def sometimes_dies(marker: str) -> str:
    """Kills its process, the first time."""
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@jobs.task(cpu=True, retries=0, timeout=0.3)
def never_ends(marker: str) -> None:
    """Holds its process, and the GIL most of the time."""
    Path(marker).write_text(str(os.getpid()))
    while True:
        pass


@jobs.task(cpu=True, retries=0)
def runs_until_killed(marker: str) -> None:
    """Says where it runs, and stays."""
    Path(marker).write_text(str(os.getpid()))
    while True:
        time.sleep(0.01)


@jobs.task(cpu=True, retries=0, queue="images")
def waits(gate: str) -> int:
    """Holds its process until the file `gate` is there; in a queue of its own."""
    while not Path(gate).exists():
        time.sleep(0.01)
    return os.getpid()


@jobs.task(cpu=True, retries=1)
def fails(ctx: JobContext) -> None:
    """Asks for another attempt first, then fails with a traceback."""
    if ctx.attempt == 1:
        raise Retry("once more", delay=0.0)
    raise KeyError(f"{ctx.task} {ctx.attempt} of {ctx.max_retries + 1}")


@jobs.task(cpu=True, retries=0)
def tells(ctx: JobContext, gate: str) -> None:
    """Reports progress, then waits for the file `gate`."""
    ctx.progress(0.25, "quarter")
    while not Path(gate).exists():
        time.sleep(0.01)


@jobs.task(cpu=True, retries=0)
def exits() -> None:
    """A task's sys.exit() is its own affair."""
    sys.exit(3)


@jobs.task(retries=5)
async def append(path: str, number: int) -> int:
    """Leaves a line for each run."""
    write_line(path, number)
    return number


@jobs.task(retries=5)
def append_slowly(path: str, number: int) -> int:
    """Takes long enough to be killed in its middle."""
    time.sleep(0.02)
    write_line(path, number)
    return number


@jobs.task(retries=3, backoff=0.01)
def holds(marker: str, gate: str) -> str:
    """The first attempt stays for ever; later ones end."""
    if not Path(gate).exists():
        Path(marker).touch()
        time.sleep(3600)
    return "done"


@jobs.task(retries=0)
def stays(log: str, gate: str) -> int:
    """Leaves a line when it begins, and ends once the file `gate` is there."""
    write_line(log, "begun")
    while not Path(gate).exists():
        time.sleep(0.01)
    return 1


@jobs.every(0.05, name="tick", kwargs={"path": os.environ.get("TICKS", os.devnull)})
@jobs.task
async def tick(path: str) -> None:
    """Leaves a line for each tick."""
    write_line(path, "tick")


def write_line(path: str, word: object) -> None:
    """One write, so that lines of several processes do not mix."""
    with open(path, "a") as file:
        file.write(f"{word}\n")
