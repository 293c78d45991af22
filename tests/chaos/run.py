"""Thousands of jobs of all kinds, while workers, schedulers and the broker fail at random.

`python -m tests.chaos.run --jobs 10000 --seed 7 --broker redis` prints its seed, starts a server
of its own, kills workers and schedulers with SIGKILL, kills, cuts off and silences the broker until
all jobs are written, lets the rest work, and then looks at what is left: see `checks`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import checks, program
from tests.chaos.places import PLACES, Place, opened
from tests.chaos.processes import Processes
from tests.chaos.producer import Producer
from tests.chaos.sabotage import WAYS, spoil

RECOVERY_SECONDS_MAX = 30.0
"""From a worker's death until its jobs are anybody's."""

RETURN_SECONDS_MAX = 30.0
"""From the broker's return to the end of a job enqueued then: 5 is what is promised, where the
machine is not busy."""


@dataclass(frozen=True)
class Plan:
    """How a run goes. pace: seconds between two pieces of work, on average."""

    jobs: int
    seed: int
    workers: int = 2
    lease: float = 2.0
    pace: float = 0.05
    sabotage: str | None = None

    def chance(self, whose: str) -> random.Random:
        """Dice of one's own: what one does, does not depend on how fast another is."""
        return random.Random(f"{self.seed} {whose}")


@dataclass
class Outages:
    """What happened to the broker, and how long it took until a job ran again."""

    kinds: Counter[str] = field(default_factory=Counter)
    returns: list[float] = field(default_factory=list)


async def chaos(place: Place, notes: Path, plan: Plan) -> str:
    """One run on an empty broker; what it did. AssertionError where something is wrong."""
    processes = Processes(
        plan.chance("processes"), place.url, notes, workers=plan.workers, lease=plan.lease
    )
    outages = Outages()
    began = time.time()
    async with program.jobs:
        producer = Producer(plan.chance("producer"))
        await program.jobs.limit("task:narrow", concurrency=3)
        if plan.sabotage is not None:
            spoil(place.url, plan.sabotage)
        await processes.start()
        try:
            async with beside(processes.tend):
                await _fill(place, producer, processes, outages, plan)
                written = time.monotonic()
                await checks.all_end(program.jobs, seconds=60 + plan.jobs / 50)
                seconds = time.monotonic() - written
                await checks.dead_workers_are_forgotten(program.jobs, place, processes.workers)
        finally:
            await processes.stop()
        found = checks.read_notes(notes)
        await checks.check(program.jobs, producer.accepted, found, began)
        recovery = await checks.recovery(program.jobs, processes.killed)
        removed = await checks.remove_all(program.jobs)
    left = await asyncio.to_thread(place.traces, removed)
    assert not left, f"{len(left)} things are left: {left[:5]}"
    assert recovery <= RECOVERY_SECONDS_MAX, f"a dead worker's lease lasted {recovery:.1f} s"
    slowest = max(outages.returns, default=0.0)
    assert slowest <= RETURN_SECONDS_MAX, f"{slowest:.1f} s after the broker's return a job ran"
    happened = ", ".join(f"{n} {kind}" for kind, n in sorted(outages.kinds.items())) or "none"
    return (
        f"{len(producer.accepted)} jobs accepted, {len(producer.accepted.unsure)} offered while "
        f"the broker was away; {processes.kills} processes killed, {processes.restarts} that could "
        f"not start, started again; outages: {happened}; all ended {seconds:.1f} s after the last "
        f"kill; {len(removed)} records removed, nothing left; a dead worker's lease lasted "
        f"{recovery:.2f} s at most (of {plan.lease:g}), a job took {slowest:.2f} s after an outage"
    )


async def _fill(
    place: Place, producer: Producer, processes: Processes, outages: Outages, plan: Plan
) -> None:
    """Writes all jobs, while everything fails, and kills a few more at the end."""
    chance = plan.chance("pace")
    kills, failures = plan.chance("kills"), plan.chance("failures")

    async def kill(stop: asyncio.Event) -> None:
        await _pause(stop, 1.0)
        while not stop.is_set():
            await processes.kill_one()
            await _pause(stop, kills.uniform(0.5, 2.0))

    async def fail(stop: asyncio.Event) -> None:
        await _pause(stop, 1.0)
        while not stop.is_set():
            outages.kinds[await place.fail(failures)] += 1
            well = time.monotonic()
            await producer.probe()
            outages.returns.append(time.monotonic() - well)
            await _pause(stop, failures.uniform(1.0, 4.0))

    async with beside(kill), beside(fail):
        while len(producer.accepted) < plan.jobs:
            await producer.some()
            await asyncio.sleep(chance.uniform(0.0, 2 * plan.pace))
            if chance.random() < 0.05:
                await producer.signal_all()
    # While jobs are still under way.
    for _ in range(3):
        await processes.kill_one()
        await asyncio.sleep(chance.uniform(0.2, 0.6))
    await producer.signal_all()
    await producer.signal_unsure()


@asynccontextmanager
async def beside(run: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Runs it beside the block, until its event is set at the end; its error comes out there."""
    stop = asyncio.Event()
    task = asyncio.get_running_loop().create_task(run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


@asynccontextmanager
async def environment(place: Place, notes: Path) -> AsyncIterator[None]:
    """What `tests.chaos.program` looks at, in this process."""
    before = dict(os.environ)
    os.environ.update(PELTON_BROKER=place.url, PELTON_CHAOS_NOTES=str(notes))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


async def run(kind: str, folder: Path, plan: Plan) -> str:
    """A run on a broker of a kind, with its data and notes in `folder`."""
    notes = folder / "notes"
    notes.mkdir()
    with opened(kind, folder) as place:
        async with environment(place, notes):
            return await chaos(place, notes, plan)


def main() -> None:
    """Runs once, as the options say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lease", type=float, default=2.0, help="of the workers, in seconds")
    parser.add_argument("--pace", type=float, default=0.05, help="seconds between pieces of work")
    parser.add_argument("--broker", default="sqlite", choices=["sqlite", *PLACES])
    parser.add_argument("--sabotage", choices=WAYS, help="a broker that the checks must not pass")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    plan = Plan(args.jobs, args.seed, args.workers, args.lease, args.pace, args.sabotage)
    with tempfile.TemporaryDirectory(prefix="pelton-chaos-") as folder:
        print(asyncio.run(run(args.broker, Path(folder), plan)))


if __name__ == "__main__":
    main()
