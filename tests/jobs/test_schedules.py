"""Schedules: declared in code, fired by a scheduler."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from pelton.jobs import InvalidArguments, Jobs, Scheduler, Task
from tests.jobs.outside import spoil_schedule
from tests.jobs.support import new_jobs, on_loop, until, working

BROKERS = ("sqlite", "redis", "postgresql", "amqp")


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return new_jobs(tmp_path)


@on_loop
async def test_an_interval_fires_again_and_again(jobs: Jobs) -> None:
    seen: list[str] = []

    @jobs.every(0.03, name="tick", args=("a",))
    async def tick(word: str) -> None:
        seen.append(word)

    async with working(jobs), Scheduler(jobs):
        await until(lambda: len(seen) >= 3, "it ticked")
        (schedule,) = await jobs.schedule_records()
    assert set(seen) == {"a"}
    assert (schedule.name, schedule.task, schedule.every) == ("tick", tick.name, 0.03)
    assert schedule.last_job is not None


@on_loop
async def test_cron_with_seconds(jobs: Jobs) -> None:
    ran = asyncio.Event()

    @jobs.cron("* * * * * *", tz="Europe/Paris")
    async def every_second() -> None:
        ran.set()

    async with working(jobs), Scheduler(jobs):
        await until(ran.is_set, "a second passed")


@pytest.mark.slow
@on_loop
async def test_a_standby_takes_over(jobs: Jobs) -> None:
    seen: list[int] = []

    @jobs.every(0.03)
    async def tick() -> None:
        seen.append(1)

    second = Jobs(jobs.url)
    second.schedules.update(jobs.schedules)
    async with working(jobs):
        first = Scheduler(jobs)
        await first.start()
        async with second, Scheduler(second):
            await until(lambda: len(seen) >= 2, "the first fires")
            await first.stop()
            count = len(seen)
            await until(lambda: len(seen) > count + 2, "the second fires")


@on_loop
async def test_gone_from_the_code_is_gone(jobs: Jobs, tmp_path: Path) -> None:
    @jobs.cron("0 3 * * 2", tz="Europe/Paris")
    async def weekly() -> None: ...

    @jobs.cron("0 4 * * *")
    async def nightly() -> None: ...

    async with jobs, Scheduler(jobs):
        records = {record.name: record for record in await jobs.schedule_records()}
        assert set(records) == {weekly.name, nightly.name}
        assert records[weekly.name].tz == "Europe/Paris"
        assert records[weekly.name].next_at is not None
    changed = Jobs(jobs.url)
    changed.schedules[nightly.name] = jobs.schedules[nightly.name]
    async with changed, Scheduler(changed):
        assert [record.name for record in await changed.schedule_records()] == [nightly.name]


@on_loop
async def test_arguments_are_validated_when_the_scheduler_starts(jobs: Jobs) -> None:
    @jobs.every(60)
    @jobs.task
    async def needs(value: int) -> None: ...

    assert isinstance(needs, Task)
    async with jobs:
        with pytest.raises(InvalidArguments, match="needs a value for: value"):
            await Scheduler(jobs).start()


def test_schedules_have_one_name_each(jobs: Jobs) -> None:
    @jobs.every(60)
    @jobs.cron("0 3 * * *", name="other")
    async def work() -> None: ...

    assert set(jobs.schedules) == {work.name, "other"}
    with pytest.raises(ValueError, match="schedule 'other' already"):
        jobs.every(30, name="other")(work)


def test_wrong_times_are_refused_where_they_are_written(jobs: Jobs) -> None:
    async def work() -> None: ...

    for expression in ("bad", "61 * * * *", "* * *"):
        with pytest.raises(ValueError, match=r".+"):
            jobs.cron(expression)(work)
        jobs.tasks.clear()
    with pytest.raises(ValueError, match="Nowhere/City"):
        jobs.cron("0 3 * * *", tz="Nowhere/City")(work)
    jobs.tasks.clear()
    for interval in (0, -1):
        with pytest.raises(ValueError, match=r".+"):
            jobs.every(interval)(work)
        jobs.tasks.clear()


@on_loop
async def test_run_ends_on_request(jobs: Jobs) -> None:
    async with jobs:
        scheduler = Scheduler(jobs)
        ready = asyncio.Event()
        running = asyncio.create_task(scheduler.run(ready.set))
        await ready.wait()
        scheduler.request_stop()
        await running
    with pytest.raises(ValueError, match="needs a Jobs object"):
        Scheduler()


@on_loop
async def test_a_rule_that_cannot_be_read_holds_no_other_up(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    @jobs.every(0.03, name="good")
    async def good() -> None:
        ran.append("good")

    @jobs.every(0.02, name="bad")
    async def bad() -> None:
        ran.append("bad")

    async with jobs, Scheduler(jobs):
        pass
    spoil_schedule(jobs.url, "bad")
    # The scheduler of another program, which does not declare them again.
    other = Jobs(jobs.url)
    async with working(jobs), other, Scheduler(other, owner="other"):
        ran.clear()  # what was enqueued before it was spoiled is of no interest
        await until(lambda: ran.count("good") >= 3, "the one that can be read goes on")
        records = {record.name: record for record in await jobs.schedule_records()}
        before = records["bad"].next_at
        assert await jobs.pause_schedule("bad")
        with pytest.raises(ValueError, match="full"):
            await jobs.resume_schedule("bad")
    assert before is not None
    assert before <= time.time()
    named = [line for line in caplog.messages if "schedule bad is due" in line]
    assert len(named) == 1, "it is said once"
