"""What a chaos run enqueues, and what is to become of each job."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pelton._core import NewJob, new_job_id
from pelton.jobs import BrokerError, Job, JobNotFound, chain, chord, group
from tests.chaos import program

T = TypeVar("T")

AWAY_SECONDS_MAX = 60.0
"""A broker that fails longer than that does not come back."""


@dataclass
class Accepted:
    """What the broker took, and what is to become of it."""

    succeed: set[str] = field(default_factory=set)
    die: set[str] = field(default_factory=set)
    cancel: set[str] = field(default_factory=set)  # cancelled or succeeded: it was asked in time
    follow: set[str] = field(default_factory=set)  # error callbacks that must have run
    unneeded: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)  # offered while the broker was away: there or not
    steps: set[str] = field(default_factory=set)  # of those above, they wait for a signal

    @property
    def sure(self) -> set[str]:
        """Every id that was accepted."""
        return self.succeed | self.die | self.cancel | self.follow | self.unneeded

    def __len__(self) -> int:
        return len(self.sure)


async def again(operation: Callable[[], Awaitable[T]]) -> T:
    """What an operation that may be done twice gives, once the broker is there."""
    deadline = time.monotonic() + AWAY_SECONDS_MAX
    while True:
        try:
            return await operation()
        except BrokerError:
            assert time.monotonic() < deadline, "the broker does not come back"
            await asyncio.sleep(0.05)


class Producer:
    """Writes jobs of all kinds, and does to some what people do."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._of = program
        self.accepted = Accepted()
        self._offered: set[str] = set()
        self._to_signal: set[str] = set()
        self._watch()
        self._kinds: list[Callable[[], Awaitable[None]]] = [
            *[self._many] * 3,
            *[self._plain] * 6,
            self._doomed,
            self._chord,
            self._broken_chain,
            self._cancelled,
            self._keyed,
            self._late,
            self._unneeded,
            self._steps,
            self._narrow,
        ]

    def _watch(self) -> None:
        """Notes what is offered to the broker, whether it answers or not."""
        write = program.jobs.write

        async def watched(new: Sequence[NewJob], edges: Sequence[Any] = ()) -> list[str]:
            self._offered.update(job.id for job in new)
            return await write(new, edges)

        program.jobs.write = watched  # type: ignore[method-assign]

    async def some(self) -> None:
        """One piece of work: a job, a batch, a workflow."""
        self._offered = set()
        try:
            await self._chance.choice(self._kinds)()
        except BrokerError:
            self.accepted.unsure |= self._offered - self.accepted.sure
            await asyncio.sleep(0.05)

    async def signal_all(self) -> None:
        """Sends the signals that jobs wait for."""
        for id in list(self._to_signal):
            assert await again(lambda id=id: program.jobs.signal(id, "go"))  # type: ignore[misc]
            self._to_signal.discard(id)

    async def signal_unsure(self) -> None:
        """Sends them to jobs, too, of which it was not known whether they are there."""
        for id in self.accepted.unsure:
            try:
                job = await again(lambda id=id: program.jobs.job(id))  # type: ignore[misc]
            except JobNotFound:
                continue
            if job.task == "steps":
                await again(lambda id=id: program.jobs.signal(id, "go"))  # type: ignore[misc]

    async def probe(self) -> None:
        """A job that is enqueued and runs before all others, as soon as the broker lets it."""
        deadline = time.monotonic() + AWAY_SECONDS_MAX
        while True:
            id = new_job_id()
            try:
                job = await self._of.quick.options(id=id, priority=100).enqueue(0)
                break
            except BrokerError:
                self.accepted.unsure.add(id)
                assert time.monotonic() < deadline, "the broker does not come back"
        self.accepted.succeed.add(id)
        await again(lambda: job.result(AWAY_SECONDS_MAX))

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
        self.accepted.succeed.update(record.id for record in await again(job.records))

    async def _broken_chain(self) -> None:
        steps = chain(self._of.quick.s(1), self._of.doomed.si(), self._of.quick.si(2))
        job = await steps.on_error(self._of.mourn.s()).enqueue()
        for record in await again(job.records):
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
        for record in await again(job.records):
            mourns = record.task == "mourn"
            (self.accepted.unneeded if mourns else self.accepted.succeed).add(record.id)

    async def _steps(self) -> None:
        job = await self._of.steps.enqueue()
        self.accepted.succeed.add(job.id)
        self.accepted.steps.add(job.id)
        self._to_signal.add(job.id)

    async def _narrow(self) -> None:
        handles = await self._of.narrow.enqueue_many([(0.02,)] * 5)
        self.accepted.succeed.update(job.id for job in handles)

    async def _keyed(self) -> None:
        """The second gets the first, unless that has ended."""
        key = f"key-{self._chance.randrange(10**9)}"
        for _ in range(2):
            job = await self._of.slow.options(key=key).enqueue(0.05)
            self.accepted.succeed.add(job.id)

    async def _late(self) -> None:
        """Runs in time, or not at all."""
        job = await self._of.quick.options(expires=self._chance.choice([0.05, 30])).enqueue(3)
        self.accepted.cancel.add(job.id)

    async def _cancelled(self) -> None:
        job: Job[None] = await self._of.slow.options(delay=self._chance.choice([None, 5])).enqueue(
            0.3
        )
        self.accepted.cancel.add(job.id)
        await again(lambda: job.cancel("changed our mind"))
