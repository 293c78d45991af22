"""A dashboard over a real broker, and jobs in every state."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from pelton._core import Broker, NewJob, Outcome, RetryPolicy, WorkerSession, new_job_id
from pelton.dashboard import Dashboard

ACTION = {"x-pelton-dashboard": "1"}


def measure() -> dict[str, Any]:
    """A process that has done nothing."""
    return {
        "pid": 1,
        "started_at": 0.0,
        "requests": 0,
        "errors": 0,
        "connections": 0,
        "latency": {"bounds": [0.001], "counts": [0, 0]},
        "lag": 0.0,
        "rss": 0,
    }


def client_of(
    dashboard: Dashboard, host: str = "127.0.0.1", name: str = "127.0.0.1:8000"
) -> TestClient:
    """A client at address `host` that calls the server `name`."""
    return TestClient(dashboard, f"http://{name}", client=(host, 40_000), follow_redirects=False)


def enqueue(broker: Broker, task: str = "shop.task", **settings: Any) -> str:
    """One job; its id."""
    job = NewJob(id=new_job_id(), task=task, payload=b'{"args":{"n":1}}', **settings)
    broker.enqueue([job])
    return job.id


def work(broker: Broker, *, fail: bool = False) -> str:
    """Runs the next job as a worker would; its id."""
    session = WorkerSession(
        broker,
        name="wheel",
        queues=(),
        concurrency=1,
        on_cancel=lambda ids: None,
        on_lost=lambda ids: None,
    )
    try:
        [leased] = session.lease(1, 5.0) or []
        error = b'{"type":"ValueError","message":"no","traceback":"Traceback..."}'
        outcome = Outcome.failure(leased, error) if fail else Outcome.success(leased, b'"done"')
        session.finish([outcome])
        return leased.id
    finally:
        session.close()


def dead_job(broker: Broker) -> str:
    """A job that failed for good; its id."""
    enqueue(broker, retry=RetryPolicy(max_retries=0))
    return work(broker, fail=True)
