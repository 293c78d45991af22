"""The jobs of a chaos run: every kind there is. Each notes what it does in a file of its process.

The broker is PELTON_BROKER's, the folder of the notes PELTON_CHAOS_NOTES'.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from pelton.jobs import JobContext, Jobs

jobs = Jobs()

RETRIES = 8


def note(what: str, id: str, attempt: int, worker: int = 0) -> None:
    """One line, in one write: a process that is killed writes it whole or not at all.

    worker: the process id of the worker, where this is a process of its pool.
    """
    path = Path(os.environ["PELTON_CHAOS_NOTES"]) / f"{os.getpid()}.log"
    with open(path, "a", encoding="ascii") as log:
        log.write(f"{what} {id} {attempt} {worker or os.getpid()} {time.time():.3f}\n")


@jobs.task(name="quick")
async def quick(ctx: JobContext, n: int) -> int:
    """Ends at once."""
    note("run", ctx.id, ctx.attempt)
    return n


@jobs.task(name="slow")
async def slow(ctx: JobContext, seconds: float) -> None:
    """Takes its time on the loop."""
    note("run", ctx.id, ctx.attempt)
    await asyncio.sleep(seconds)


@jobs.task(name="flaky", retries=RETRIES, backoff=0.05)
async def flaky(ctx: JobContext) -> str:
    """Fails the first time."""
    note("run", ctx.id, ctx.attempt)
    if ctx.attempt == 1:
        raise ConnectionError("the first attempt fails")
    return "in the end"


@jobs.task(name="doomed", retries=1, backoff=0.05)
async def doomed(ctx: JobContext) -> None:
    """Fails each time."""
    note("run", ctx.id, ctx.attempt)
    raise ValueError("this one always fails")


@jobs.task(name="blocking")
def blocking(ctx: JobContext, seconds: float) -> None:
    """Holds a thread."""
    note("run", ctx.id, ctx.attempt)
    time.sleep(seconds)


@jobs.task(name="cpu", cpu=True, queue="cpu")
def cpu(ctx: JobContext, n: int) -> int:
    """Holds a process."""
    note("run", ctx.id, ctx.attempt, os.getppid())
    return sum(range(n))


@jobs.task(name="narrow")
async def narrow(ctx: JobContext, seconds: float) -> None:
    """Few at a time, by a limit that the run sets."""
    note("run", ctx.id, ctx.attempt)
    await asyncio.sleep(seconds)


@jobs.task(name="steps", retries=RETRIES)
async def steps(ctx: JobContext) -> list[str]:
    """Finished steps are not repeated, and the rest between them holds nobody."""
    first = await ctx.step("a", _step, ctx, "a")
    await ctx.sleep(0.2)
    second = await ctx.step("b", _step, ctx, "b")
    await ctx.wait_signal("go")
    return [first, second, await ctx.step("c", _step, ctx, "c")]


def _step(ctx: JobContext, name: str) -> str:
    note(f"step-{name}", ctx.id, ctx.attempt)
    return name


@jobs.task(name="gather")
async def gather(ctx: JobContext, results: list[Any]) -> int:
    """A chord's callback."""
    note("run", ctx.id, ctx.attempt)
    return len(results)


@jobs.task(name="mourn")
async def mourn(ctx: JobContext, failure: dict[str, Any]) -> str:
    """An error callback."""
    note("run", ctx.id, ctx.attempt)
    return str(failure["state"])


@jobs.every(0.5, name="tick")
@jobs.task(queue="ticks")
async def tick() -> None:
    """A schedule's job."""
