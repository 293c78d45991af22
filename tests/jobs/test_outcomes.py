"""Outcomes on their way to a broker that does not take all of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pelton._core import BrokerError, LeasedJob, Outcome
from pelton.jobs import JobFailed, Jobs
from pelton.jobs.outcomes import Outcomes
from tests.jobs import core
from tests.jobs.support import new_jobs, on_loop, until, working


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pelton.jobs.outcomes._RETRY_SECONDS_MIN", 0.001)


class Choosy:
    """A worker's session that refuses some outcomes, or all."""

    def __init__(self, session: Any, error: Exception) -> None:
        self._session = session
        self._error = error
        self.refused: list[Outcome] = []
        self.away = False
        self.refusals = 0

    def finish(self, outcomes: Sequence[Outcome], *, waiter: asyncio.Future[Any]) -> None:
        if self.away or any(one is refused for one in outcomes for refused in self.refused):
            self.refusals += 1
            waiter.set_exception(self._error)
            return
        self._session.finish(outcomes, waiter=waiter)


def leased(tmp_path: Path, count: int) -> tuple[Any, core.Worker, list[LeasedJob]]:
    broker = core.open_broker(tmp_path)
    broker.enqueue([core.new_job() for _ in range(count)])
    worker = core.Worker(broker)
    return broker, worker, worker.lease(count, 10.0)


@pytest.mark.parametrize("error", [ValueError("too large"), BrokerError("out of range")])
@on_loop
async def test_one_that_cannot_be_written_fails_and_the_others_go_on(
    tmp_path: Path, error: Exception
) -> None:
    broker, worker, jobs = leased(tmp_path, 12)
    session = Choosy(worker.session, error)
    outcomes = Outcomes(session, lambda: None)  # type: ignore[arg-type]
    bad = Outcome.success(jobs[0], b"0")
    session.refused.append(bad)
    outcomes.add(jobs[0], bad)
    for job in jobs[1:]:
        outcomes.add(job, Outcome.success(job, b"1"))
    await until(lambda: outcomes.unwritten <= 1, "the others are written")
    assert [broker.get(job.id).state for job in jobs[1:]] == ["succeeded"] * 11

    def others_go_on() -> bool:
        # While others are written, it becomes clear that the broker is not away.
        broker.enqueue([core.new_job()])
        job = worker.lease_one()
        outcomes.add(job, Outcome.success(job, b"1"))
        return bool(broker.get(jobs[0].id).state != "running")

    await until(others_go_on, "the one is given up")
    await until(lambda: outcomes.unwritten == 0, "all are written")
    record = broker.get(jobs[0].id)
    assert record.state == "dead"
    told = json.loads(record.error)
    assert told["type"] == "OutcomeRefused"
    assert told["message"] == f"the broker cannot store how this attempt ended: {error}"
    await outcomes.close()
    worker.session.close()
    broker.close()


@on_loop
async def test_a_broker_that_is_away_fails_no_job(tmp_path: Path) -> None:
    broker, worker, jobs = leased(tmp_path, 3)
    session = Choosy(worker.session, BrokerError("no connection"))
    session.away = True
    outcomes = Outcomes(session, lambda: None)  # type: ignore[arg-type]
    for job in jobs:
        outcomes.add(job, Outcome.success(job, b"1"))
    # Long enough that they are tried one by one.
    await until(lambda: session.refusals >= 9, "they were tried again and again")
    assert outcomes.unwritten == 3
    session.away = False
    await until(lambda: outcomes.unwritten == 0, "all are written")
    assert [broker.get(job.id).state for job in jobs] == ["succeeded"] * 3
    await outcomes.close()
    worker.session.close()
    broker.close()


@on_loop
async def test_a_result_above_what_brokers_store(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    jobs.payload_limit = 100 << 20  # as no program can set it

    @jobs.task
    async def large() -> str:
        return "x" * (65 << 20)

    @jobs.task
    async def small() -> int:
        return 1

    async with working(jobs):
        job = await large.enqueue()
        others = await small.enqueue_many([()] * 20)
        assert [await other.result(60) for other in others] == [1] * 20
        with pytest.raises(JobFailed, match=r"OutcomeRefused.*above the limit"):
            await job.result(60)


def test_payload_limits_have_a_bound(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    assert Jobs(url, payload_limit=64 << 20).payload_limit == 64 << 20
    for limit in (0, -1, (64 << 20) + 1):
        with pytest.raises(ValueError, match="payload_limit"):
            Jobs(url, payload_limit=limit)
