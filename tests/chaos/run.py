"""Thousands of jobs of all kinds, while workers and schedulers are killed at random.

`python -m tests.chaos.run --jobs 10000 --seed 7 --broker sqlite` prints its seed, kills processes
with SIGKILL until all jobs are written, lets the rest work, and then looks at what is left: see
`checks`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from pelton.jobs import Job, chain, chord, group

LEASE = 1.5
ROOT = Path(__file__).parents[2]


@dataclass
class Accepted:
    """What the broker took, and what is to become of it."""

    succeed: set[str] = field(default_factory=set)
    die: set[str] = field(default_factory=set)
    cancel: set[str] = field(default_factory=set)  # cancelled or succeeded: it was asked in time
    follow: set[str] = field(default_factory=set)  # error callbacks that must have run
    unneeded: set[str] = field(default_factory=set)
    signalled: list[Job[object]] = field(default_factory=list)
    steps: set[str] = field(default_factory=set)

    @property
    def all(self) -> set[str]:
        """Every id."""
        return self.succeed | self.die | self.cancel | self.follow | self.unneeded

    def __len__(self) -> int:
        return len(self.all)


class Processes:
    """Workers and a scheduler, any of which may die at any time."""

    def __init__(self, chance: random.Random, url: str, notes: Path, workers: int) -> None:
        self._chance = chance
        self._environment = {
            **os.environ,
            "PELTON_BROKER": url,
            "PELTON_CHAOS_NOTES": str(notes),
        }
        self._kinds = ["worker"] * workers + ["scheduler"]
        self._running: list[asyncio.subprocess.Process] = []
        self.kills = 0

    async def start(self) -> None:
        """Starts all of them."""
        self._running = [await self._start(kind) for kind in self._kinds]

    async def kill_one(self) -> None:
        """Kills one, and starts another in its place."""
        number = self._chance.randrange(len(self._kinds))
        await self._kill(self._running[number])
        self.kills += 1
        self._running[number] = await self._start(self._kinds[number])

    async def stop(self) -> None:
        """Ends all, as an operator would."""
        for process in self._running:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                async with asyncio.timeout(60):
                    await process.wait()
            except TimeoutError:
                await self._kill(process)
        self._running = []

    async def _kill(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            process.kill()
        await process.wait()

    async def _start(self, kind: str) -> asyncio.subprocess.Process:
        flags = ["--lease", str(LEASE), "--cpu-processes", "1"] if kind == "worker" else []
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "pelton", kind, "tests.chaos.program:jobs", "--app-dir", str(ROOT)),
            *("--log-level", "critical", *flags),
            cwd=ROOT,
            env=self._environment,
        )


class Producer:
    """Writes jobs of all kinds, and does to some what people do."""

    def __init__(self, chance: random.Random) -> None:
        from tests.chaos import program

        self._chance = chance
        self._of = program
        self.accepted = Accepted()
        self._kinds: list[Callable[[], Awaitable[None]]] = [
            *[self._many] * 3,
            *[self._plain] * 6,
            self._doomed,
            self._chord,
            self._broken_chain,
            self._unneeded,
            self._steps,
            self._cancelled,
        ]

    async def some(self) -> None:
        """One piece of work: a job, a batch, a workflow."""
        await self._chance.choice(self._kinds)()

    async def signal_all(self) -> None:
        """Sends the signals that jobs wait for."""
        for job in self.accepted.signalled:
            assert await job.signal("go")
        self.accepted.signalled.clear()

    async def _many(self) -> None:
        handles = await self._of.quick.enqueue_many([(n,) for n in range(20)])
        self.accepted.succeed.update(job.id for job in handles)

    async def _plain(self) -> None:
        short = self._chance.random() * 0.2
        options = {
            "delay": self._chance.choice([None, 0.3]),
            "priority": self._chance.randint(-5, 5),
        }
        enqueue = self._chance.choice(
            [
                lambda: self._of.quick.options(**options).enqueue(1),
                lambda: self._of.slow.options(**options).enqueue(short),
                lambda: self._of.flaky.options(**options).enqueue(),
                lambda: self._of.blocking.options(**options).enqueue(short),
                lambda: self._of.cpu.options(**options).enqueue(10_000),
            ]
        )
        self.accepted.succeed.add((await enqueue()).id)

    async def _doomed(self) -> None:
        self.accepted.die.add((await self._of.doomed.enqueue()).id)

    async def _chord(self) -> None:
        members = group(self._of.quick.s(n) for n in range(self._chance.randint(1, 8)))
        job = await chord(members, self._of.gather.s()).enqueue()
        self.accepted.succeed.update(record.id for record in await job.records())

    async def _broken_chain(self) -> None:
        steps = chain(self._of.quick.s(1), self._of.doomed.si(), self._of.quick.si(2))
        job = await steps.on_error(self._of.mourn.s()).enqueue()
        for record in await job.records():
            of = {"doomed": self.accepted.die, "mourn": self.accepted.follow}
            last = record.id == job.last.id
            (self.accepted.cancel if last else of.get(record.task, self.accepted.succeed)).add(
                record.id
            )

    async def _unneeded(self) -> None:
        job = (
            await group(self._of.quick.s(1), self._of.flaky.s())
            .on_error(self._of.mourn.s())
            .enqueue()
        )
        for record in await job.records():
            mourns = record.task == "mourn"
            (self.accepted.unneeded if mourns else self.accepted.succeed).add(record.id)

    async def _steps(self) -> None:
        job = await self._of.steps.enqueue()
        self.accepted.succeed.add(job.id)
        self.accepted.steps.add(job.id)
        self.accepted.signalled.append(job)  # type: ignore[arg-type]

    async def _cancelled(self) -> None:
        job = await self._of.slow.options(delay=self._chance.choice([None, 5])).enqueue(0.3)
        self.accepted.cancel.add(job.id)
        await job.cancel("changed our mind")


async def chaos(
    url: str, notes: Path, *, jobs: int, seed: int, workers: int = 2, pace: float = 0.05
) -> str:
    """One run on an empty broker; what it did. AssertionError where something is wrong.

    pace: seconds between two pieces of work, on average.
    """
    from tests.chaos import checks, program

    chance = random.Random(seed)
    processes = Processes(chance, url, notes, workers)
    producer = Producer(chance)
    began = time.time()
    async with program.jobs:
        await processes.start()
        try:
            next_kill = time.monotonic() + 2.0
            while len(producer.accepted) < jobs:
                await producer.some()
                await asyncio.sleep(chance.uniform(0.0, 2 * pace))
                if chance.random() < 0.05:
                    await producer.signal_all()
                if time.monotonic() > next_kill:
                    await processes.kill_one()
                    next_kill = time.monotonic() + chance.uniform(0.5, 2.0)
            # While jobs are still under way.
            for _ in range(3):
                await processes.kill_one()
                await asyncio.sleep(chance.uniform(0.2, 0.6))
            await producer.signal_all()
            written = time.monotonic()
            await checks.all_end(program.jobs, producer.accepted, seconds=60 + jobs / 50)
            seconds = time.monotonic() - written
        finally:
            await processes.stop()
        await checks.check(program.jobs, producer.accepted, notes, began)
        left = await checks.remove_all(program.jobs)
    checks.nothing_is_left(url)
    return (
        f"{len(producer.accepted)} jobs, {processes.kills} kills, {left} records removed, "
        f"all ended {seconds:.1f} s after the last kill"
    )


def main() -> None:
    """Runs once, as the options say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--broker", default="sqlite", help="sqlite, or the URL of an empty broker")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="pelton-chaos-") as folder:
        notes = Path(folder) / "notes"
        notes.mkdir()
        url = f"sqlite:///{folder}/jobs.db" if args.broker == "sqlite" else args.broker
        os.environ.update(PELTON_BROKER=url, PELTON_CHAOS_NOTES=str(notes))
        run = chaos(url, notes, jobs=args.jobs, seed=args.seed, workers=args.workers)
        print(asyncio.run(run))


if __name__ == "__main__":
    main()
