"""Processes that are killed: nothing accepted is lost, nothing ends twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pelton import _core
from tests.jobs.core import Worker, open_broker, until

PRODUCER = """
import sys, time
from pelton import _core

broker = _core.Broker(sys.argv[1])
while True:
    time.sleep(0.005)  # workers are to keep up with it
    jobs = [_core.NewJob(id=_core.new_job_id(), task="t", payload=b"[]") for _ in range(7)]
    print(*broker.enqueue(jobs), flush=True)
"""

WORKER = """
import sys
from pelton import _core

broker = _core.Broker(sys.argv[1])
worker = _core.WorkerSession(
    broker, name=sys.argv[2], queues=[], concurrency=10, lease=0.5,
    on_cancel=lambda ids: None, on_lost=lambda ids: None,
)
while True:
    jobs = worker.lease(10, 1.0)
    settled = worker.finish([_core.Outcome.success(job, sys.argv[2].encode()) for job in jobs])
    print(*[one.id for one in settled if one.state == "succeeded"], flush=True)
"""

HOLDER = """
import signal, sys
from pelton import _core

broker = _core.Broker(sys.argv[1])
worker = _core.WorkerSession(
    broker, name="holder", queues=[], concurrency=1, lease=0.5,
    on_cancel=lambda ids: None, on_lost=lambda ids: None,
)
jobs = worker.lease(1, 30.0)
print("holds", len(jobs), flush=True)
signal.pause()
"""


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes, and ends those that the test leaves behind."""
    children: list[subprocess.Popen[str]] = []

    def start(program: str, url: str, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, url, *args]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return children[-1]

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
            child.communicate(timeout=20)


def all_jobs(broker: _core.Broker) -> dict[str, _core.JobRecord]:
    """Every job of the file, page by page."""
    found: dict[str, _core.JobRecord] = {}
    before = None
    while page := broker.list_jobs(limit=1000, before=before):
        found |= {job.id: job for job in page}
        before = page[-1].id
    return found


def kill(child: subprocess.Popen[str]) -> list[str]:
    """Ends it as nobody can prevent; what it had been told until then."""
    child.send_signal(signal.SIGKILL)
    output, _ = child.communicate(timeout=20)
    # The last line may be torn.
    whole = output.rpartition("\n")[0]
    return whole.split()


def count(broker: _core.Broker, *states: _core.State) -> int:
    return sum(queue.counts[state] for queue in broker.queues() or [] for state in states)


def test_kill_minus_nine(tmp_path: Path, start: Start) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    url = f"sqlite:///{tmp_path}/jobs.db?synchronous=normal"
    broker = open_broker(tmp_path)
    accepted: set[str] = set()
    told: list[tuple[str, str]] = []
    producers = [start(PRODUCER, url)]
    workers = {name: start(WORKER, url, name) for name in ("w0", "w1")}
    names = iter(f"w{n}" for n in range(2, 100))
    for _ in range(5):
        enough = count(broker, "succeeded") + chance.randrange(50, 300)
        until(lambda enough=enough: count(broker, "succeeded") >= enough, 30.0)
        accepted.update(kill(producers.pop()))
        producers.append(start(PRODUCER, url))
        victim = chance.choice(list(workers))
        told.extend((id, victim) for id in kill(workers.pop(victim)))
        name = next(names)
        workers[name] = start(WORKER, url, name)
    accepted.update(kill(producers.pop()))
    until(lambda: count(broker, "queued", "running", "scheduled", "waiting") == 0, 40.0)
    for name, child in workers.items():
        told.extend((id, name) for id in kill(child))

    found = all_jobs(broker)
    assert accepted <= set(found), "an accepted job is lost"
    assert {job.state for job in found.values()} == {"succeeded"}
    # A worker that was told that its outcome counts can rely on it; nobody else is told so.
    ended = [id for id, _ in told]
    assert len(ended) == len(set(ended))
    for id, name in told:
        assert found[id].result == name.encode()
    assert all(job.attempt <= 6 for job in found.values())
    # No leftovers: the file says the same as the counts.
    assert count(broker, "succeeded") == len(found)
    broker.close()


def test_a_worker_that_was_killed_is_replaced(tmp_path: Path, start: Start) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db?synchronous=normal"
    broker = open_broker(tmp_path)
    holder = start(HOLDER, url)
    job = _core.NewJob(id=_core.new_job_id(), task="t", payload=b"[]")
    broker.enqueue([job])
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holds 1\n"
    holder.kill()
    holder.communicate(timeout=20)
    worker = Worker(broker)
    leased = worker.lease_one()
    assert (leased.id, leased.attempt) == (job.id, 2)
    assert worker.succeed(leased) == ["succeeded"]
    worker.session.close()
    broker.close()
