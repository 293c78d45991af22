"""`_core.SchedulerSession`: who leads, and what fires."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pelton import _core
from tests.jobs.core import Worker, answer, new_job, open_broker, until


@pytest.fixture
def broker(tmp_path: Path):
    broker = open_broker(tmp_path)
    yield broker
    broker.close()


def every(name: str, seconds: float, **options: object) -> _core.ScheduleSpec:
    template = new_job(task=f"task of {name}")
    return _core.ScheduleSpec(name=name, template=template, every=seconds, **options)


def test_a_quick_schedule_fires_jobs(broker: _core.Broker) -> None:
    scheduler = _core.SchedulerSession(broker, name="s", schedules=[every("quick", 0.05)])
    fired: list[tuple[str, str]] = []

    def step() -> bool:
        leads, now, _, sleep = scheduler.step()
        assert leads
        assert 0.0 <= sleep <= 10.0
        fired.extend(now)
        return len(fired) >= 3

    until(step)
    worker = Worker(broker)
    assert [job.id for job in worker.lease()] == [id for _, id in fired]
    assert {name for name, _ in fired} == {"quick"}
    (found,) = broker.schedules()
    assert (found.name, found.task, found.queue) == ("quick", "task of quick", "default")
    assert (found.cron, found.every, found.last_job) == (None, 0.05, fired[-1][1])
    assert found.next_at > found.last_at
    worker.session.close()
    scheduler.close()


def test_one_of_two_leads_until_it_resigns(broker: _core.Broker, tmp_path: Path) -> None:
    other = open_broker(tmp_path)
    first = _core.SchedulerSession(broker, name="same", schedules=[every("a", 3600.0)])
    second = _core.SchedulerSession(other, name="same", schedules=[every("a", 3600.0)])

    async def main() -> None:
        assert (await answer(first.step))[0] is True
        leads, fired, _, sleep = await answer(second.step)
        assert (leads, fired) == (False, [])
        assert sleep > 0

    asyncio.run(main())
    first.close()
    assert second.step()[0] is True
    second.close()
    other.close()


def test_what_is_not_declared_any_more_is_gone(broker: _core.Broker) -> None:
    def declare(owner: str, *schedules: _core.ScheduleSpec) -> list[str]:
        _core.SchedulerSession(broker, name="s", schedules=schedules, owner=owner).close()
        return [found.name for found in broker.schedules()]

    assert declare("app", every("a", 60.0), every("b", 60.0)) == ["a", "b"]
    assert declare("other", every("c", 60.0)) == ["a", "b", "c"]
    assert declare("app", every("b", 60.0)) == ["b", "c"]


def test_cron_schedules_are_told(broker: _core.Broker) -> None:
    spec = _core.ScheduleSpec(
        name="weekly", template=new_job(), cron="0 3 * * 2", tz="Europe/Paris"
    )
    assert spec.name == "weekly"
    _core.SchedulerSession(broker, name="s", schedules=[spec])
    (found,) = broker.schedules()
    assert (found.cron, found.tz, found.every) == ("0 3 * * 2", "Europe/Paris", None)
    assert found.next_at is not None
    assert (found.last_at, found.last_job) == (None, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "exactly one of cron, every, solar and at"),
        ({"cron": "* * * * *", "every": 1.0}, "exactly one of cron, every, solar and at"),
        ({"cron": "soon"}, "not a cron pattern"),
        ({"cron": "* * * * *", "tz": "Mars/Olympus"}, "IANA"),
        ({"every": 0.0}, "period"),
        ({"every": 1.0, "grace": -1.0}, "grace"),
        ({"every": 1.0, "name": ""}, "a schedule has 1 to"),
    ],
)
def test_schedules_that_cannot_be(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _core.ScheduleSpec(**({"name": "n", "template": new_job()} | options))
