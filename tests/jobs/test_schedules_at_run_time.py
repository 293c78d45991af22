"""Schedules that are made, changed and ended while a scheduler runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pelton.jobs import InvalidArguments, Jobs, Scheduler

from .support import new_jobs, on_loop, until, working


@pytest.mark.brokers("sqlite", "redis", "postgresql")
@on_loop
async def test_schedules_come_and_go(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    ran: list[str] = []

    @jobs.task
    async def note(what: str) -> None:
        ran.append(what)

    async with working(jobs), Scheduler(jobs):
        await jobs.add_schedule("often", note, every=0.05, args=["often"])
        await until(lambda: ran.count("often") >= 2, "it fires")
        assert await jobs.pause_schedule("often")
        (record,) = await jobs.schedule_records()
        assert (record.owner, record.paused, record.every) == ("@api", True, 0.05)
        assert await jobs.run_schedule("often") is not None
        soon = datetime.now(UTC) + timedelta(seconds=0.1)
        await jobs.add_schedule("once", note, at=soon, args=["once"])
        await until(lambda: "once" in ran, "the moment comes")
        assert await jobs.resume_schedule("often")
        before = ran.count("often")
        await until(lambda: ran.count("often") > before + 1, "it fires again")
        assert await jobs.remove_schedule("often")
        assert not await jobs.remove_schedule("often")
        assert await jobs.run_schedule("often") is None
        assert [record.name for record in await jobs.schedule_records()] == ["once"]


@pytest.mark.brokers("sqlite", "redis", "postgresql")
@on_loop
async def test_they_outlive_the_scheduler_and_catch_up(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    ran: list[str] = []

    @jobs.task
    async def note(what: str) -> None:
        ran.append(what)

    past = datetime.now(UTC) - timedelta(seconds=30)
    async with jobs:
        await jobs.add_schedule("missed", note, at=past, args=["missed"])
        await jobs.add_schedule("skipped", note, at=past, args=["skipped"], catch_up="skip")
        await jobs.add_schedule("old", note, at=past, args=["old"], grace=5)
        async with Scheduler(jobs):
            pass
    async with working(jobs), Scheduler(jobs):
        await until(lambda: ran == ["missed"], "the one that is young enough")
        records = await jobs.schedule_records()
        assert {record.name: record.next_at for record in records} == {
            "missed": None,
            "old": None,
            "skipped": None,
        }


@on_loop
async def test_what_is_refused(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task
    async def note(what: str) -> None: ...

    async with jobs:
        for wrong in (
            {"every": 5, "cron": "* * * * *"},
            {},
            {"cron": "61 * * * *"},
            {"solar": ("noonish", 1.0, 2.0)},
            {"solar": ("sunrise", 100.0, 2.0)},
            {"every": 5, "catch_up": "sometimes"},
            {"every": 5, "catch_up": 0},
        ):
            with pytest.raises(ValueError, match=r"schedule|cron|sun|Earth|catch"):
                await jobs.add_schedule("wrong", note, args=["x"], **wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidArguments):
            await jobs.add_schedule("wrong", note, every=5)
        assert await jobs.schedule_records() == []


@on_loop
async def test_the_sun_is_declared_in_code(tmp_path: Path) -> None:
    jobs = Jobs(f"sqlite:///{tmp_path / 'jobs.db'}")

    @jobs.solar("sunset", 48.85, 2.35, catch_up="all")
    async def lights() -> None: ...

    async with jobs, Scheduler(jobs):
        (record,) = await jobs.schedule_records()
        assert record.cron == "@sunset 48.85 2.35"
        assert record.catch_up == 1000
        assert record.next_at is not None
        assert 15 <= datetime.fromtimestamp(record.next_at, UTC).hour <= 20
