"""Durations that are none: refused where they are given, and nothing is left under way."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pelton.jobs import JobContext, JobFailed, Jobs, Retry, Worker
from pelton.jobs.options import Options, seconds
from tests.jobs.support import PATIENCE, new_jobs, on_loop, working

NONE: list[Any] = [math.nan, math.inf, 1e300, timedelta.max]
"""No durations, wherever one is asked for."""

NEGATIVE: list[Any] = [-1, -0.001, timedelta(seconds=-1)]


@pytest.mark.parametrize("wrong", NONE + NEGATIVE)
def test_declarations(wrong: Any) -> None:
    jobs = Jobs("memory://")
    for name in ("backoff", "backoff_max", "timeout", "result_ttl", "soft_timeout"):
        with pytest.raises(ValueError, match=f"{name}=.* is not a duration"):
            jobs.task(**{name: wrong})
    with pytest.raises(ValueError, match=r"every|period"):
        jobs.every(wrong)(lambda: None)
    for name in ("lease", "grace", "unknown_task_delay"):
        with pytest.raises(ValueError, match=f"{name}=.* is not a duration"):
            Worker(jobs, **{name: wrong})
    with pytest.raises(ValueError, match=r"delay=.* is not a duration"):
        Retry(delay=wrong)


@pytest.mark.parametrize("wrong", NONE)
def test_options(wrong: Any) -> None:
    for name in ("delay", "timeout", "expires", "key_ttl"):
        with pytest.raises(ValueError, match=f"{name}=.* is not a duration"):
            Options(key="k", **{name: wrong})


@pytest.mark.parametrize("wrong", NEGATIVE)
def test_negative_options(wrong: Any) -> None:
    for name in ("timeout", "expires", "key_ttl"):
        with pytest.raises(ValueError, match=f"{name}=.* is not a duration"):
            Options(key="k", **{name: wrong})
    # The rest of a time that is over by now.
    assert Options(delay=wrong).run_at(5.0) == 5.0


def test_zero_is_a_duration_but_no_time_limit() -> None:
    assert seconds(0, "delay") == 0
    for name in ("timeout", "key_ttl"):
        with pytest.raises(ValueError, match=f"{name}=0 is not above 0"):
            Options(key="k", **{name: 0})


@on_loop
async def test_moments_out_of_range(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task
    async def quick() -> None: ...

    before = datetime(1969, 1, 1, tzinfo=UTC)
    async with jobs:
        for options in ({"eta": before}, {"expires": before}):
            with pytest.raises(ValueError, match="since the epoch"):
                await quick.options(**options).enqueue()  # type: ignore[arg-type]
        for wrong in NONE:
            with pytest.raises(ValueError, match=r"delay=.* is not a duration"):
                quick.apply_async(countdown=wrong)
        with pytest.raises(ValueError, match="no time zone"):
            await jobs.add_schedule("once", quick, at=datetime(2030, 1, 1))
        job = await quick.enqueue()
        with pytest.raises(ValueError, match="timeout=nan"):
            await job.result(math.nan)
        with pytest.raises(TimeoutError):
            await job.result(-1)


@on_loop
async def test_a_rest_without_end_fails_its_attempt(tmp_path: Path) -> None:
    """It has an outcome: the worker holds nothing."""
    jobs = new_jobs(tmp_path)

    @jobs.task(retries=0)
    async def rests(ctx: JobContext, long: str) -> None:
        await ctx.sleep(float(long))

    @jobs.task(retries=0)
    async def waits(ctx: JobContext, long: str) -> None:
        await ctx.wait_signal("go", timeout=float(long))

    async with working(jobs) as worker:
        for task in (rests, waits):
            for long in ("1e300", "nan", "inf"):
                job = await task.enqueue(long)
                with pytest.raises(JobFailed, match="is not a duration") as failed:
                    await job.result(PATIENCE)
                assert failed.value.type == "ValueError"
        await (await rests.enqueue("-5")).result(PATIENCE)
        assert worker.running == 0


@on_loop
async def test_a_kept_rest_that_is_no_time_fails_its_attempt(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task(retries=0)
    async def rests(ctx: JobContext) -> None:
        steps = ctx._known_steps()
        assert steps is not None
        await steps._save("sleep:", b"1e300")  # as a release before this one wrote it
        await ctx.sleep(5)

    async with working(jobs) as worker:
        job = await rests.enqueue()
        with pytest.raises(JobFailed, match="until is in seconds since the epoch"):
            await job.result(PATIENCE)
        await asyncio.sleep(0)
        assert worker.running == 0
