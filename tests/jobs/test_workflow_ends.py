"""Workflows: error callbacks, graphs, maps, their progress and their cancellation."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pelton.jobs import (
    Graph,
    JobCancelled,
    JobContext,
    JobFailed,
    Jobs,
    chain,
    chord,
    chunks,
    group,
    map_,
    starmap,
)

from .support import new_jobs, on_loop, until, working

BROKERS = ("sqlite", "redis", "postgresql")


class Tasks:
    """What the workflows here are made of."""

    def __init__(self, tmp_path: Path) -> None:
        self.jobs = jobs = new_jobs(tmp_path)
        self.failures: list[dict[str, Any]] = []

        @jobs.task
        async def add(a: int, b: int) -> int:
            return a + b

        @jobs.task
        async def total(numbers: list[int]) -> int:
            return sum(numbers)

        @jobs.task(retries=0)
        async def fail(*args: Any) -> int:
            raise RuntimeError("broken")

        @jobs.task
        async def note(failure: dict[str, Any]) -> str:
            self.failures.append(failure)
            return "noted"

        @jobs.task
        async def wait(ctx: JobContext) -> None:
            await asyncio.Event().wait()

        self.add, self.total, self.fail, self.note, self.wait = add, total, fail, note, wait


async def all_ended(jobs: Jobs, id: str) -> bool:
    counts = await jobs.workflow_counts(id)
    return not any(counts[state] for state in ("waiting", "scheduled", "queued", "running"))


@on_loop
async def test_an_error_callback_runs_once_with_what_failed(tmp_path: Path) -> None:
    tasks = Tasks(tmp_path)
    steps = chain(tasks.add.s(1, 2), tasks.fail.s(), tasks.add.s(1), tasks.add.s(1))
    async with working(tasks.jobs):
        job = await steps.on_error(tasks.note.s()).enqueue()
        with pytest.raises(JobCancelled):
            await job.result(60)
        await until(lambda: all_ended(tasks.jobs, job.id), "all ended")
    (failure,) = tasks.failures
    # The first that failed cancelled the others: the last one is what the callback follows.
    assert failure["state"] == "cancelled"
    assert failure["job"] == job.last.id


@on_loop
async def test_the_error_of_a_single_job_is_told(tmp_path: Path) -> None:
    tasks = Tasks(tmp_path)
    async with working(tasks.jobs):
        job = await tasks.fail.s().on_error(tasks.note.s(), tasks.note.s()).enqueue()
        with pytest.raises(JobFailed):
            await job.result(60)
        await until(lambda: len(tasks.failures) == 2, "both were called")
    assert tasks.failures[0]["state"] == "dead"
    assert tasks.failures[0]["error"]["message"] == "broken"


@on_loop
async def test_without_an_error_the_callback_is_not_needed(tmp_path: Path) -> None:
    tasks = Tasks(tmp_path)
    steps = group(tasks.add.s(1, 2), tasks.add.s(3, 4)).on_error(chain(tasks.note.s()))
    async with working(tasks.jobs):
        job = await steps.enqueue()
        assert await job.results(60) == [3, 7]
        await until(lambda: all_ended(tasks.jobs, job.id), "all ended")
        assert await job.progress() == {"succeeded": 2, "cancelled": 1}
    assert tasks.failures == []


@on_loop
async def test_a_group_calls_back_once_however_many_fail(tmp_path: Path) -> None:
    tasks = Tasks(tmp_path)
    members = group(tasks.fail.s(1), tasks.add.s(1, 1), tasks.fail.s(2), tasks.fail.s(3))
    async with working(tasks.jobs):
        job = await chord(members, tasks.total.s()).on_error(tasks.note.s()).enqueue()
        with pytest.raises(JobCancelled):
            await job.result(60)
        await until(lambda: all_ended(tasks.jobs, job.id), "all ended")
        other = await members.on_error(tasks.note.s()).enqueue()
        await until(lambda: all_ended(tasks.jobs, other.id), "all ended")
    assert len(tasks.failures) == 2


@on_loop
async def test_a_chain_may_end_in_a_group_and_be_nested(tmp_path: Path) -> None:
    tasks = Tasks(tmp_path)
    inner = group(tasks.add.s(1), chain(tasks.add.s(2), group(tasks.add.s(3), tasks.add.s(4))))
    async with working(tasks.jobs):
        job = await chain(tasks.add.s(1, 1), inner).enqueue()
        assert await job.result(60) == [3, [7, 8]]
        with pytest.raises(RuntimeError, match="several"):
            _ = job.last


@on_loop
async def test_maps_and_chunks(tmp_path: Path) -> None:
    tasks = Tasks(tmp_path)
    async with working(tasks.jobs):
        calls = await starmap(tasks.add, [(1, 2), (3, 4)]).enqueue()
        assert await calls.results(60) == [3, 7]
        parts = await chunks(tasks.total, range(10), 4).enqueue()
        assert await parts.results(60) == [6, 22, 17]
        whole = await map_(tasks.total, [[1, 2], [3]]).then(tasks.total.s()).enqueue()
        assert await whole.result(60) == 6
    with pytest.raises(ValueError, match="size"):
        chunks(tasks.total, [1], 0)


@on_loop
async def test_a_graph(tmp_path: Path) -> None:
    tasks = Tasks(tmp_path)
    graph = Graph()
    a = graph.add(tasks.add.s(1, 2))
    b = graph.add(tasks.add.s(10), a)
    c = graph.add(tasks.add.s(20), a)
    graph.add(tasks.total.s(), b, c, a)
    graph.add(tasks.add.s(100), c)
    async with working(tasks.jobs):
        job = await graph.enqueue()
        assert await job.result(60) == [13 + 23 + 3, 123]
    with pytest.raises(ValueError, match="not in the graph"):
        graph.add(tasks.add.s(1), 9)
    with pytest.raises(ValueError, match="at least one"):
        await Graph().enqueue()


@on_loop
async def test_progress_and_cancellation_of_the_whole(tmp_path: Path) -> None:
    tasks = Tasks(tmp_path)
    steps = chain(group(tasks.wait.si() for _ in range(3)), tasks.total.si([1]))
    async with working(tasks.jobs):
        job = await steps.on_error(tasks.note.s()).enqueue()
        await until(lambda: _is(job, {"running": 3, "waiting": 2}), "they run")
        seen = []
        async for counts in job.updates():
            seen.append(counts)
            if len(seen) == 1:
                assert await job.cancel("enough") >= 4
        assert seen[-1] == {"cancelled": 5}
    assert tasks.failures == []


async def _is(job: Any, expected: dict[str, int]) -> bool:
    return bool(await job.progress() == expected)
