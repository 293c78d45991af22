"""Limits across workers, and keys."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from pelton.jobs import JobContext, JobFailed, Jobs, Worker
from pelton.jobs.limits import Limit, RetryBudget, rate_of

from .support import new_jobs, on_loop, until, working

BROKERS = ("sqlite", "redis", "postgresql")


@on_loop
async def test_a_task_runs_so_many_times_at_a_time(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    most = running = 0

    @jobs.task(concurrency=2)
    async def narrow() -> None:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    async with working(jobs), Worker(jobs):
        handles = await narrow.enqueue_many([()] * 20)
        for handle in handles:
            await handle.result(60)
        (limit,) = await jobs.limits()
        assert (limit.scope, limit.concurrency) == (f"task:{narrow.name}", 2)
    assert most == 2


@on_loop
async def test_a_key_has_its_own_share(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    free = asyncio.Event()
    begun: list[str] = []

    @jobs.task(key_concurrency=1)
    async def serve(customer: str) -> None:
        begun.append(customer)
        await free.wait()

    async with working(jobs):
        for customer in ["a", "a", "a", "b"]:
            await serve.options(limit_key=customer).enqueue(customer)
        await until(lambda: sorted(begun) == ["a", "b"], "one of each runs")
        free.set()
        await until(lambda: sorted(begun) == ["a", "a", "a", "b"], "the others run")


@on_loop
async def test_rates_change_at_run_time(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task(rate_limit="1/h")
    async def rare() -> None: ...

    async with working(jobs):
        handles = await rare.enqueue_many([()] * 10)
        await until(lambda: _succeeded(jobs, 1), "one ran")
        await jobs.limit(f"task:{rare.name}")
        for handle in handles:
            await handle.result(60)
        assert await jobs.limits() == []
        with pytest.raises(ValueError, match="scope"):
            await jobs.limit("everything", concurrency=1)


@on_loop
async def test_what_operators_set_wins_over_what_tasks_declare(tmp_path: Path) -> None:
    def program(**limits: Any) -> Jobs:
        jobs = new_jobs(tmp_path)

        @jobs.task(name="narrow", **limits)
        async def narrow() -> None: ...

        return jobs

    async def told(jobs: Jobs) -> list[tuple[int | None, bool]]:
        async with working(jobs):
            return [(limit.concurrency, limit.declared) for limit in await jobs.limits()]

    assert await told(program(concurrency=2)) == [(2, True)]
    async with program() as operator:
        await operator.limit("task:narrow", concurrency=7)
    assert await told(program(concurrency=2)) == [(7, False)]
    assert await told(program()) == [(7, False)]
    async with program() as operator:
        await operator.limit("task:narrow")
    assert await told(program(concurrency=3)) == [(3, True)]
    assert await told(program()) == [], "what the code does not declare any more is gone"


async def _succeeded(jobs: object, n: int) -> bool:
    (queue,) = await jobs.queue_records()  # type: ignore[attr-defined]
    return bool(queue.counts["succeeded"] == n)


@on_loop
async def test_programs_share_a_bucket(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    async with jobs:
        for _ in range(5):
            await jobs.throttle("api", 1000, burst=2)
        with pytest.raises(ValueError, match="cost"):
            await jobs.throttle("api", 10, burst=2, cost=3)


@on_loop
async def test_a_key_may_stay_taken(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task
    async def once() -> int:
        return 1

    async with working(jobs):
        first = await once.options(key="k", key_ttl=3600).enqueue()
        await first.result(60)
        assert await once.options(key="k", key_ttl=3600).enqueue() == first
        other = await once.options(key="other").enqueue()
        await other.result(60)
        assert await once.options(key="other").enqueue() != other
    with pytest.raises(ValueError, match="key_ttl"):
        once.options(key_ttl=5)


@on_loop
async def test_a_retry_budget_ends_retries(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task(retries=50, backoff=0, retry_budget=(3, 3600))
    async def down(ctx: JobContext) -> None:
        raise ConnectionError("down")

    async with working(jobs):
        job = await down.enqueue()
        with pytest.raises(JobFailed):
            await job.result(60)
        assert [one.end for one in await job.history()] == ["failed"] * 4


@pytest.mark.brokers("sqlite")
def test_rates_are_read() -> None:
    assert rate_of("10/s") == (10.0, 10.0)
    assert rate_of("30/m") == (0.5, 1.0)
    assert rate_of(2.5) == (2.5, 2.5)
    for wrong in ("10", "x/s", "0/s", "1/w"):
        with pytest.raises(ValueError, match="not a rate"):
            rate_of(wrong)
    with pytest.raises(ValueError, match="concurrency"):
        Limit()
    with pytest.raises(ValueError, match="retry budget"):
        RetryBudget(0, 1)
    for budget in (math.nan, 0.0):
        with pytest.raises(ValueError, match="retry budget"):
            RetryBudget(1, budget)
    for rate in (math.nan, math.inf, -1.0):
        with pytest.raises(ValueError, match="rate"):
            Limit(rate=rate)
