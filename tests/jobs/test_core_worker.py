"""`_core.WorkerSession`: leases and their ends, as a worker process uses them."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from pelton import _core
from tests.jobs.core import Worker, answer, new_job, open_broker, until


@pytest.fixture
def broker(tmp_path: Path):
    broker = open_broker(tmp_path)
    yield broker
    broker.close()


def state(broker: _core.Broker, id: str) -> str:
    found = broker.get(id)
    assert found is not None
    return found.state


def test_a_job_from_lease_to_result(broker: _core.Broker) -> None:
    job = new_job(payload=b"[1]", timeout=3.0, key="k", group="g")
    broker.enqueue([job])
    worker = Worker(broker, name="w", queues=["default"])
    leased = worker.lease_one()
    assert (leased.id, leased.task, leased.queue) == (job.id, "task", "default")
    assert (leased.payload, leased.inputs) == (b"[1]", [])
    assert (leased.attempt, leased.max_retries, leased.timeout) == (1, 3, 3.0)
    assert (leased.key, leased.group, leased.token) == ("k", "g", 1)
    assert leased.created_at == pytest.approx(time.time(), abs=60)
    found = broker.get(job.id)
    assert found is not None
    assert (found.state, found.worker) == ("running", "w")
    assert worker.finish(_core.Outcome.success(leased, b'"done"')) == ["succeeded"]
    found = broker.get(job.id)
    assert found is not None
    assert (found.state, found.result, found.worker) == ("succeeded", b'"done"', None)
    assert worker.succeed(leased) == ["stale"]
    worker.session.close()


def test_a_lease_waits_for_jobs_of_this_process(broker: _core.Broker) -> None:
    async def main() -> None:
        worker = Worker(broker)
        waiting = asyncio.create_task(answer(worker.session.lease, 5, 30.0))
        await asyncio.sleep(0)
        await answer(broker.enqueue, [new_job()])
        (leased,) = await waiting
        (settled,) = await answer(worker.session.finish, [_core.Outcome.success(leased, b"1")])
        assert (settled.id, settled.state, settled.run_at) == (leased.id, "succeeded", None)
        assert await answer(worker.session.lease, 5, 0.01) == []
        worker.session.close()

    asyncio.run(main())


def test_a_lease_waits_for_jobs_of_others_and_for_their_time(
    broker: _core.Broker, tmp_path: Path
) -> None:
    worker = Worker(broker)
    found: list[_core.LeasedJob] = []
    thread = threading.Thread(target=lambda: found.extend(worker.lease(5, 30.0)))
    thread.start()
    other = open_broker(tmp_path)
    job = new_job(run_at=time.time() + 0.05)
    other.enqueue([job])
    thread.join(30)
    assert [leased.id for leased in found] == [job.id]
    other.close()
    worker.session.close()


def test_failures_and_their_delays(broker: _core.Broker) -> None:
    policy = _core.RetryPolicy(max_retries=1, base_delay=100.0, jitter=False)
    job = new_job(retry=policy)
    broker.enqueue([job])
    worker = Worker(broker)
    outcome = _core.Outcome.failure(worker.lease_one(), b'{"type":"E"}')
    (settled,) = worker.session.finish([outcome])
    assert settled.state == "scheduled"
    assert settled.run_at == pytest.approx(time.time() + 100, abs=30)
    assert broker.cancel(job.id)
    assert broker.retry(job.id)
    for expected in ("scheduled", "dead"):
        leased = worker.lease_one()
        outcome = _core.Outcome.failure(leased, b'{"type":"F"}', delay=0.0)
        assert worker.finish(outcome) == [expected]
    found = broker.get(job.id)
    assert found is not None
    assert (found.error, found.attempt) == (b'{"type":"F"}', 2)
    with pytest.raises(ValueError, match="delay"):
        _core.Outcome.failure(leased, b"{}", delay=float("nan"))
    worker.session.close()


def test_a_failure_without_retry_is_final(broker: _core.Broker) -> None:
    broker.enqueue([new_job()])
    worker = Worker(broker)
    assert worker.finish(_core.Outcome.failure(worker.lease_one(), b"{}", retry=False)) == ["dead"]
    worker.session.close()


def test_release_and_cancelled(broker: _core.Broker) -> None:
    job = new_job()
    broker.enqueue([job])
    worker = Worker(broker)
    assert worker.finish(_core.Outcome.release(worker.lease_one())) == ["queued"]
    leased = worker.lease_one()
    assert (leased.attempt, leased.token) == (1, 2)
    assert worker.finish(_core.Outcome.cancelled(leased, "enough")) == ["cancelled"]
    found = broker.get(job.id)
    assert found is not None
    assert found.reason == "enough"
    worker.session.close()


def test_a_cancelled_job_is_told_to_its_worker(broker: _core.Broker, tmp_path: Path) -> None:
    jobs = [new_job(), new_job()]
    broker.enqueue(jobs)
    worker = Worker(broker)
    worker.lease(2)
    assert broker.cancel(jobs[0].id, "from here")
    until(lambda: worker.cancelled == [jobs[0].id])
    other = open_broker(tmp_path)
    assert other.cancel(jobs[1].id, "from elsewhere")
    until(lambda: worker.cancelled == [jobs[0].id, jobs[1].id])
    found = broker.get(jobs[1].id)
    assert found is not None
    assert (found.state, found.cancel_requested) == ("running", True)
    other.close()
    worker.session.close()


def test_progress_is_written_soon_and_with_the_outcome(broker: _core.Broker) -> None:
    job = new_job()
    broker.enqueue([job])
    worker = Worker(broker)
    leased = worker.lease_one()

    def progress() -> tuple[float | None, str | None]:
        found = broker.get(job.id)
        assert found is not None
        return found.progress, found.message

    worker.session.progress(leased, 0.25, "a quarter")
    until(lambda: progress() == (0.25, "a quarter"))
    for step in range(1000):
        worker.session.progress(leased, step / 1000)
    worker.session.progress(leased, 1.0, "all")
    worker.succeed(leased)
    assert progress() == (1.0, "all")
    worker.session.progress(leased, 0.5)
    with pytest.raises(ValueError, match="0 to 1"):
        worker.session.progress(leased, 1.5)
    worker.session.close()
    assert progress() == (1.0, "all")


def test_leases_are_renewed_whatever_python_does(broker: _core.Broker, tmp_path: Path) -> None:
    broker.enqueue([new_job()])
    worker = Worker(broker, lease=0.3)
    leased = worker.lease_one()
    other = open_broker(tmp_path)
    thief = Worker(other, name="thief")
    assert thief.lease(1, 1.5) == [], "five times the lease has passed"
    assert worker.lost == []
    assert worker.succeed(leased) == ["succeeded"]
    thief.session.close()
    worker.session.close()
    other.close()


def test_leases_of_a_worker_that_went_away(broker: _core.Broker, tmp_path: Path) -> None:
    job = new_job()
    broker.enqueue([job])
    other = open_broker(tmp_path)
    gone = Worker(other, name="gone", lease=0.2)
    stale = gone.lease_one()
    gone.session.close()
    other.close()
    worker = Worker(broker)
    leased = worker.lease_one()
    assert (leased.id, leased.attempt) == (job.id, 2)
    assert leased.token > stale.token
    assert worker.succeed(leased) == ["succeeded"]
    worker.session.close()


def test_an_answer_to_a_cancelled_future_goes_back(broker: _core.Broker) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        worker.session.lease(1, 30.0, waiter=waiter)
        waiter.cancel()
        await answer(broker.enqueue, [job])
        (leased,) = await answer(patient.session.lease, 1, 20.0)
        assert (leased.id, leased.attempt) == (job.id, 1)

    job = new_job()
    worker, patient = Worker(broker), Worker(broker, name="patient")
    asyncio.run(main())
    worker.session.close()
    patient.session.close()


def test_workers_are_listed_until_they_close(broker: _core.Broker) -> None:
    worker = Worker(broker, name="w", queues=["a", "b"], concurrency=3)
    (found,) = broker.workers()
    assert (found.name, found.queues, found.concurrency) == ("w", ["a", "b"], 3)
    assert (found.running, found.processed, found.failed) == (0, 0, 0)
    assert found.pid > 0
    assert found.hostname
    assert found.seen_at >= found.started_at > 0
    worker.session.close()
    worker.session.close()
    assert broker.workers() == []


def test_sessions_that_cannot_be(broker: _core.Broker) -> None:
    with pytest.raises(ValueError, match="lease"):
        Worker(broker, lease=0.0)
    with pytest.raises(ValueError, match="worker"):
        Worker(broker, name="")
    worker = Worker(broker)
    with pytest.raises(ValueError, match="limit"):
        worker.lease(0)
    with pytest.raises(ValueError, match="wait"):
        worker.lease(1, -1.0)
    worker.session.close()


def test_sessions_end_with_their_broker(tmp_path: Path) -> None:
    broker = open_broker(tmp_path)
    worker = Worker(broker)
    found: list[BaseException] = []

    def wait() -> None:
        try:
            worker.lease(1, 60.0)
        except _core.BrokerError as error:
            found.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    broker.close()
    thread.join(20)
    assert "closed" in str(found[0])
    with pytest.raises(_core.BrokerError, match="closed"):
        worker.session.close()
