"""`_core.Broker`: each call, in both forms, and what it refuses."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import pelton
from pelton import _core
from tests.jobs.core import Worker, answer, new_job, open_broker, sql, until

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def broker(tmp_path: Path):
    broker = open_broker(tmp_path)
    yield broker
    broker.close()


@pytest.fixture(params=[asyncio.new_event_loop, pelton.new_event_loop], ids=["asyncio", "pelton"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on each kind of loop: answers take another way to each."""

    def on_the_loop(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(main)

    return on_the_loop


def record(broker: _core.Broker, id: str) -> _core.JobRecord:
    found = broker.get(id)
    assert found is not None
    return found


def test_ids_are_uuids_of_version_7_and_sort() -> None:
    ids = [_core.new_job_id() for _ in range(1000)]
    assert ids == sorted(set(ids))
    assert all(len(id) == 32 and id[12] == "7" for id in ids)


def test_a_job_can_be_read_back(broker: _core.Broker) -> None:
    at = time.time() + 3600
    job = new_job(
        payload=b'{"a":"\xc3\xa9"}',
        task="mail:send",
        queue="mails",
        priority=7,
        run_at=at,
        key="k",
        group="g",
        timeout=1.5,
        retry=_core.RetryPolicy(max_retries=9),
    )
    assert broker.enqueue([job]) == [job.id]
    found = record(broker, job.id)
    assert (found.id, found.task, found.queue) == (job.id, "mail:send", "mails")
    assert (found.state, found.priority, found.attempt) == ("scheduled", 7, 0)
    assert found.run_at == pytest.approx(at, abs=1e-5)
    assert (found.key, found.group, found.timeout, found.max_retries) == ("k", "g", 1.5, 9)
    assert found.payload == b'{"a":"\xc3\xa9"}'
    assert found.created_at == pytest.approx(time.time(), abs=60)
    assert (found.started_at, found.finished_at, found.worker) == (None, None, None)
    assert (found.progress, found.message, found.reason) == (None, None, None)
    assert (found.result, found.error, found.cancel_requested) == (None, None, False)


def test_unknown_jobs_are_none_or_false(broker: _core.Broker) -> None:
    for id in (_core.new_job_id(), "no id at all"):
        assert broker.get(id) is None
        assert broker.watch(id, 0, 0.0) is None
        assert broker.cancel(id) is False
        assert broker.retry(id) is False
        assert broker.delete(id) is False


def test_the_futures_form(broker: _core.Broker) -> None:
    async def main() -> None:
        jobs = [new_job(key="k"), new_job(key="k"), new_job()]
        ids = await answer(broker.enqueue, jobs)
        assert ids == [jobs[0].id, jobs[0].id, jobs[2].id]
        assert (await answer(broker.get, ids[0])).state == "queued"
        assert len(await answer(broker.list_jobs)) == 2
        assert await answer(broker.cancel, ids[0], "enough") is True
        assert await answer(broker.retry, ids[0]) is True
        assert await answer(broker.cancel, ids[0]) is True
        assert await answer(broker.delete, ids[0]) is True
        assert await answer(broker.set_paused, "default", True) is None
        (queue,) = await answer(broker.queues)
        assert queue.paused
        assert queue.counts["queued"] == 1
        assert await answer(broker.workers) == []
        assert await answer(broker.schedules) == []
        with pytest.raises(ValueError, match="can be used once"):
            await answer(broker.enqueue, [jobs[2]])

    asyncio.run(main())


def test_many_futures_of_many_loops(broker: _core.Broker, run: Run) -> None:
    async def main() -> list[str]:
        ids = await asyncio.gather(*(answer(broker.enqueue, [new_job()]) for _ in range(200)))
        return [id for (id,) in ids]

    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(run(main()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = {id for ids in found for id in ids}
    assert len(ids) == 800
    assert broker.queues()[0].counts["queued"] == 800


def test_cancelled_futures_and_closed_loops_do_no_harm(broker: _core.Broker, run: Run) -> None:
    async def main() -> None:
        waiter = asyncio.get_running_loop().create_future()
        broker.watch(job.id, 10, 0.05, waiter=waiter)
        waiter.cancel()
        # Left behind for a loop that is closed by then.
        broker.watch(job.id, 10, 0.1, waiter=asyncio.get_running_loop().create_future())
        await answer(broker.get, job.id)

    job = new_job()
    broker.enqueue([job])
    run(main())
    assert broker.watch(job.id, 10, 0.2) is None
    assert record(broker, job.id).state == "queued"


def test_watch_sees_changes_of_this_process(broker: _core.Broker, run: Run) -> None:
    async def main() -> None:
        job = new_job()
        await answer(broker.enqueue, [job])
        assert (await answer(broker.watch, job.id, 0, 10.0)).version == 1
        waiting = [asyncio.create_task(answer(broker.watch, job.id, 1, 30.0)) for _ in range(5)]
        await answer(broker.get, job.id)
        await answer(broker.cancel, job.id, "seen")
        for found in await asyncio.gather(*waiting):
            assert (found.state, found.reason, found.version) == ("cancelled", "seen", 2)

    run(main())


def test_watch_sees_changes_of_other_brokers(broker: _core.Broker, tmp_path: Path) -> None:
    job = new_job()
    broker.enqueue([job])
    found: list[_core.JobRecord | None] = []
    thread = threading.Thread(target=lambda: found.append(broker.watch(job.id, 1, 30.0)))
    thread.start()
    other = open_broker(tmp_path)
    other.cancel(job.id, "from elsewhere")
    thread.join(30)
    assert found[0] is not None
    assert found[0].reason == "from elsewhere"
    other.close()


def test_lists_and_their_mistakes(broker: _core.Broker) -> None:
    jobs = [new_job(queue="a" if n % 2 else "b", task=f"t{n}") for n in range(4)]
    broker.enqueue(jobs)
    newest = [job.id for job in reversed(jobs)]
    assert [job.id for job in broker.list_jobs()] == newest
    assert [job.id for job in broker.list_jobs(limit=1, before=newest[1])] == [newest[2]]
    assert [job.task for job in broker.list_jobs(queue="a")] == ["t3", "t1"]
    assert [job.task for job in broker.list_jobs(task="t0", state="queued")] == ["t0"]
    assert broker.list_jobs(group="none") == []
    with pytest.raises(ValueError, match="waiting, scheduled, queued"):
        broker.list_jobs(state="done")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"id": "x"}, "not a job id"),
        ({"task": ""}, "a task has 1 to"),
        ({"queue": "q" * 513}, "a queue has 1 to"),
        ({"key": ""}, "a key has 1 to"),
        ({"priority": 101}, "not within -100 to 100"),
        ({"priority": 1000}, "not within -100 to 100"),
        ({"run_at": float("nan")}, "run_at"),
        ({"expires_at": 1e15}, "expires_at"),
        ({"timeout": -1.0}, "timeout"),
        ({"result_ttl": float("inf")}, "result_ttl"),
    ],
)
def test_jobs_that_cannot_be(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        new_job(**options)


def test_policies_that_cannot_be() -> None:
    policy = _core.RetryPolicy()
    assert (policy.max_retries, policy.base_delay, policy.max_delay) == (3, 1.0, 600.0)
    assert (policy.factor, policy.jitter) == (2.0, True)
    with pytest.raises(ValueError, match="base_delay"):
        _core.RetryPolicy(base_delay=-1.0)
    with pytest.raises(OverflowError):
        _core.RetryPolicy(max_retries=-1)


def test_workflows(broker: _core.Broker) -> None:
    first, second, callback = new_job(), new_job(), new_job()
    edges = [_core.Edge(first.id, callback.id, 1), _core.Edge(second.id, callback.id)]
    broker.enqueue([first, second, callback], edges)
    assert record(broker, callback.id).state == "waiting"
    worker = Worker(broker)
    leased = worker.lease()
    worker.finish(_core.Outcome.success(leased[0], b'"a"'), _core.Outcome.success(leased[1], b"2"))
    assert worker.lease_one().inputs == [b"2", b'"a"']
    worker.session.close()
    one, two = new_job(), new_job()
    circle = [_core.Edge(one.id, two.id), _core.Edge(two.id, one.id)]
    with pytest.raises(ValueError, match="wait for itself"):
        broker.enqueue([one, two], circle)
    assert broker.get(one.id) is None


def test_a_closed_broker_says_so(tmp_path: Path) -> None:
    broker = open_broker(tmp_path)
    broker.close()
    broker.close()
    with pytest.raises(_core.BrokerError, match="closed"):
        broker.enqueue([new_job()])

    async def main() -> None:
        with pytest.raises(_core.BrokerError, match="closed"):
            await answer(broker.get, _core.new_job_id())

    asyncio.run(main())


def test_closing_finishes_what_was_asked(tmp_path: Path) -> None:
    async def main() -> list[list[str]]:
        broker = open_broker(tmp_path)
        waiting = [asyncio.ensure_future(answer(broker.enqueue, [new_job()])) for _ in range(50)]
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, broker.close)
        return await asyncio.gather(*waiting)

    assert len(asyncio.run(main())) == 50
    broker = open_broker(tmp_path)
    assert broker.queues()[0].counts["queued"] == 50
    broker.close()


@pytest.mark.parametrize(
    "url",
    ["sqlite://jobs.db", "sqlite:///", "sqlite:///:memory:", "sqlite:///a.db?b=c", "x://y", "a.db"],
)
def test_urls_that_mean_nothing(url: str) -> None:
    with pytest.raises(_core.BrokerError, match=r"sqlite:////absolute/path\.db"):
        _core.Broker(url)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    path.write_bytes(b"my shopping list\n" * 1000)
    with pytest.raises(_core.BrokerError, match=r"jobs\.db is not a SQLite database"):
        open_broker(tmp_path)
    assert path.read_bytes().startswith(b"my shopping list")


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(_core.BrokerError, match="create it first"):
        open_broker(tmp_path / "none")


def test_a_newer_schema(tmp_path: Path) -> None:
    open_broker(tmp_path).close()
    sql(tmp_path, "UPDATE pelton_schema SET version = 99")
    with pytest.raises(_core.BrokerError, match=r"jobs\.db: it was written by a newer Pelton"):
        open_broker(tmp_path)


def test_other_tables_of_the_file_are_left_alone(tmp_path: Path) -> None:
    sql(tmp_path, "CREATE TABLE users (name TEXT)", "INSERT INTO users VALUES ('ann')")
    broker = open_broker(tmp_path)
    broker.enqueue([new_job()])
    broker.close()
    assert sql(tmp_path, "SELECT name FROM users") == "[('ann',)]"


@pytest.mark.parametrize(
    "change", ["state = 3", "state = 4", "state = 7", "worker = 1", "attempt = -1", "state = 0"]
)
def test_tables_keep_the_rules(broker: _core.Broker, tmp_path: Path, change: str) -> None:
    broker.enqueue([new_job()])
    with pytest.raises(RuntimeError, match="IntegrityError"):
        sql(tmp_path, f"UPDATE pelton_jobs SET {change}")


def test_damage_under_way_is_an_error_and_no_crash(tmp_path: Path) -> None:
    broker = open_broker(tmp_path)
    broker.enqueue([new_job()])
    sql(tmp_path, "DROP TABLE pelton_jobs")
    with pytest.raises(_core.BrokerError, match=r"jobs\.db"):
        broker.enqueue([new_job()])
    with pytest.raises(_core.BrokerError, match=r"jobs\.db"):
        broker.list_jobs()
    broker.close()


HOLD_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("holds", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


def test_a_lock_that_is_held_for_a_while(broker: _core.Broker, tmp_path: Path) -> None:
    broker.enqueue([new_job()])
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(tmp_path / "jobs.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holds\n"
    done: list[list[str] | None] = []
    thread = threading.Thread(target=lambda: done.append(broker.enqueue([new_job()])))
    thread.start()
    assert len(broker.list_jobs()) == 1, "readers do not wait"
    assert not done
    holder.communicate("go on\n", timeout=20)
    thread.join(20)
    assert len(done) == 1


FULL_DISK = """
import resource, sys
from pelton import _core

broker = _core.Broker(sys.argv[1])
def job():
    return _core.NewJob(id=_core.new_job_id(), task="t", payload=b"x" * 20_000)
accepted = [broker.enqueue([job()])[0] for _ in range(3)]
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
try:
    while True:
        accepted += broker.enqueue([job(), job()])
        assert len(accepted) < 1000
except _core.BrokerError as error:
    message = str(error)
assert "jobs.db" in message, message
try:
    broker.enqueue([job()])
except _core.BrokerError:
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
accepted += broker.enqueue([job()])
print(*accepted)
broker.close()
"""


def test_no_more_space(tmp_path: Path) -> None:
    """A write that does not fit is an error; what was accepted is there, and it goes on after."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, f"sqlite:///{tmp_path}/jobs.db"],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    accepted = done.stdout.split()
    broker = open_broker(tmp_path)
    assert [job.id for job in broker.list_jobs(limit=2000)] == accepted[::-1]
    broker.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    open_broker(tmp_path).close()
    (tmp_path / "jobs.db").chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(_core.BrokerError, match=r"jobs\.db"):
            open_broker(tmp_path).enqueue([new_job()])
    finally:
        tmp_path.chmod(0o700)


INTERRUPTED = """
import sys, threading, signal, os
from pelton import _core

broker = _core.Broker(sys.argv[1])
job = _core.NewJob(id=_core.new_job_id(), task="t", payload=b"")
broker.enqueue([job])
try:
    print("ready", flush=True)
    broker.watch(job.id, 1, 60.0)
except KeyboardInterrupt:
    print("interrupted", flush=True)
broker.close()
"""


def test_ctrl_c_ends_a_blocking_wait(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, f"sqlite:///{tmp_path}/jobs.db"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=20)[0] == "interrupted\n"
    assert child.returncode == 0


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_told(broker: _core.Broker) -> None:
    child = os.fork()
    if child == 0:
        try:
            broker.queues()
        except _core.BrokerError as error:
            os._exit(17 if "forked" in str(error) else 1)
        os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 17
    assert broker.queues() == []


def test_a_copy_of_the_file_is_whole(tmp_path: Path) -> None:
    """What a commit has told of is in the file and its WAL, whatever happens to the process."""
    broker = open_broker(tmp_path)
    ids = broker.enqueue([new_job() for _ in range(100)])
    assert ids is not None
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tmp_path.glob("jobs.db*"):
        shutil.copy(path, copy)
    other = open_broker(copy)
    assert [job.id for job in other.list_jobs(limit=200)] == ids[::-1]
    other.close()
    broker.close()


def test_until_is_bounded() -> None:
    with pytest.raises(AssertionError, match="in time"):
        until(lambda: False, 0.01)
