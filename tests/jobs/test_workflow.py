"""Chains, groups, and groups with a callback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pelton.jobs import (
    InvalidArguments,
    JobCancelled,
    JobFailed,
    Jobs,
    Signature,
    chain,
    chord,
    group,
)
from tests.jobs.support import new_jobs, on_loop, until, working

BROKERS = ("sqlite", "redis", "postgresql", "amqp")


class Tasks:
    """A few tasks that calculate."""

    def __init__(self, jobs: Jobs) -> None:
        @jobs.task(name="add", retries=0)
        async def add(a: int, b: int) -> int:
            return a + b

        @jobs.task(name="total", retries=0)
        def total(values: list[Any], extra: int = 0) -> int:
            def sum_of(value: Any) -> int:
                return sum(map(sum_of, value)) if isinstance(value, list) else value

            return sum_of(values) + extra

        @jobs.task(name="echo", retries=0)
        async def echo(value: list[Any]) -> list[Any]:
            return value

        @jobs.task(name="constant", retries=0)
        async def constant() -> int:
            return 100

        @jobs.task(name="fails", retries=0)
        async def fails(value: int) -> int:
            raise ValueError("no")

        self.add, self.total, self.echo = add, total, echo
        self.constant, self.fails = constant, fails


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return new_jobs(tmp_path)


@pytest.fixture
def tasks(jobs: Jobs) -> Tasks:
    return Tasks(jobs)


@on_loop
async def test_a_chain_hands_results_on(jobs: Jobs, tasks: Tasks) -> None:
    async with working(jobs):
        job = await chain(tasks.add.s(1, 2), tasks.add.s(10), tasks.add.s(b=100)).enqueue()
        assert await job.result(20) == 113
        assert await (await (tasks.add.s(1, 1) | tasks.add.s(1)).enqueue()).result(20) == 3
        # An immutable signature waits, but takes nothing.
        job = await chain(tasks.add.s(1, 2), tasks.constant.si(), tasks.add.s(5)).enqueue()
        assert await job.result(20) == 105
        assert await (await tasks.add.s(3, 4).enqueue()).result(20) == 7


@on_loop
async def test_a_group_gives_results_in_order(jobs: Jobs, tasks: Tasks) -> None:
    async with working(jobs):
        work = await group(tasks.add.s(n, n) for n in range(50)).enqueue()
        assert await work.results(20) == [2 * n for n in range(50)]
        assert await work.progress() == {"succeeded": 50}
        assert work.size == len(work.jobs) == len(await work.records()) == 50


@on_loop
async def test_a_callback_gets_the_list_of_results(jobs: Jobs, tasks: Tasks) -> None:
    members = [tasks.add.s(n, 1) for n in range(20)]
    async with working(jobs):
        for workflow in (
            group(*members).then(tasks.total.s(extra=1000)),
            chord(members, tasks.total.s(extra=1000)),
            chord(group(*members), tasks.total.s(1000)),
            chain(group(*members), tasks.total.s(1000)),
            group(*members) | tasks.total.s(1000),
        ):
            assert await (await workflow.enqueue()).result(20) == sum(range(20)) + 20 + 1000
        # Of one member, too, it is a list.
        assert await (await chord([members[0]], tasks.echo.s()).enqueue()).result(20) == [1]


@on_loop
async def test_nesting(jobs: Jobs, tasks: Tasks) -> None:
    add, echo, total = tasks.add, tasks.echo, tasks.total
    async with working(jobs):
        inner = group(add.s(1, 1), chain(add.s(2, 2), add.s(10)))
        job = await chain(group(inner, add.s(0, 0)), echo.s()).enqueue()
        assert await job.result(20) == [[2, 14], 0]
        # One result to several, and several to several.
        job = await chain(add.s(1, 2), group(add.s(10), add.s(20)), echo.s()).enqueue()
        assert await job.result(20) == [13, 23]
        fan = chain(group(add.s(1, 1), add.s(2, 2)), group(total.s(), total.s(1)), echo.s())
        assert await (await fan.enqueue()).result(20) == [6, 7]
        # A group after a step is begun by its result.
        work = await group(add.s(1), chain(add.s(2), add.s(3))).after(add.s(10, 10)).enqueue()
        assert await work.results(20) == [21, 25]
        assert work.size == 4
        work = await group(group(add.s(1, 1), add.s(2, 2)), add.s(3, 3)).enqueue()
        assert await work.results(20) == [[2, 4], 6]
        # A chord within a chain within a chord.
        deep = chord([chain(chord([add.s(1, 1)] * 3, total.s()), add.s(4))] * 2, total.s())
        assert await (await deep.enqueue()).result(20) == 20


@on_loop
async def test_a_failure_ends_what_waits_for_it(jobs: Jobs, tasks: Tasks) -> None:
    async with working(jobs):
        job = await chain(tasks.add.s(1, 2), tasks.fails.s(), tasks.add.s(1)).enqueue()
        with pytest.raises(JobCancelled):
            await job.result(20)
        work = await group(tasks.add.s(1, 1), tasks.fails.s(1)).enqueue()
        with pytest.raises(JobFailed, match="no"):
            await work.results(20)
        assert await work.progress() == {"succeeded": 1, "dead": 1}
        callback = await chord([tasks.add.s(1, 1), tasks.fails.s(1)], tasks.total.s()).enqueue()
        with pytest.raises(JobCancelled):
            await callback.result(20)


@on_loop
async def test_a_group_can_be_cancelled(jobs: Jobs, tasks: Tasks) -> None:
    async with jobs:
        work = await group(*[chain(tasks.add.s(1, 1), tasks.add.s(1))] * 3).enqueue()
        assert await work.progress() == {"queued": 3, "waiting": 3}
        assert await work.cancel("enough") >= 3
        assert await work.progress() == {"cancelled": 6}
        with pytest.raises(TimeoutError):
            await (await group(tasks.add.s(1, 1)).enqueue()).results(timeout=0.05)


@on_loop
async def test_nothing_is_written_of_a_wrong_workflow(jobs: Jobs, tasks: Tasks) -> None:
    other = Tasks(Jobs("sqlite:////elsewhere.db"))
    cases: list[tuple[type[Exception], str, Any]] = [
        (InvalidArguments, "needs a value for: b", chain(tasks.add.s(1, 2), tasks.add.s())),
        (InvalidArguments, "valid integer", chain(tasks.add.s(1, 2), tasks.add.s("x"))),
        (InvalidArguments, "use .si", chain(tasks.add.s(1, 2), tasks.constant.s())),
        (ValueError, "another broker", chain(tasks.add.s(1, 2), other.add.s(1))),
        (
            ValueError,
            "with a key",
            chain(tasks.add.s(1, 2), tasks.add.options(key="k").s(1)),
        ),
    ]
    async with jobs:
        for kind, message, workflow in cases:
            with pytest.raises(kind, match=message):
                await workflow.enqueue()
        assert await jobs.records() == []
    with pytest.raises(TypeError, match="signatures such as"):
        chain(tasks.add)  # type: ignore[arg-type]
    for make in (group, chain):
        with pytest.raises(ValueError, match="at least one"):
            make()


@on_loop
async def test_workflows_from_code_that_is_not_async(jobs: Jobs, tasks: Tasks) -> None:
    async with working(jobs):
        assert await chain(tasks.add.s(1, 2), tasks.add.s(1)).delay().result(20) == 4
        assert await group(tasks.add.s(1, 2), tasks.add.s(1, 1)).delay().results(20) == [3, 2]


@on_loop
async def test_signatures_keep_their_options(jobs: Jobs, tasks: Tasks) -> None:
    async with jobs:
        later = tasks.add.options(delay=3600, queue="slow")
        job = await chain(later.s(1, 2), tasks.add.s(1)).enqueue()
        first = (await jobs.records(queue="slow"))[0]
        assert first.state == "scheduled"
        assert first.group == (await job.info()).group is not None
        assert await job.status() == "waiting"
    signature: Signature[int] = tasks.add.s(1, b=2)
    assert repr(signature) == "add(1, b=2)"


@on_loop
async def test_progress_of_a_group_while_it_runs(jobs: Jobs, tasks: Tasks) -> None:
    async with jobs:
        work = await group(*(tasks.add.s(n, n) for n in range(5))).enqueue()
        assert await work.progress() == {"queued": 5}
        async with working(jobs):

            async def done() -> bool:
                return await work.progress() == {"succeeded": 5}

            await until(done, "all members have ended")
