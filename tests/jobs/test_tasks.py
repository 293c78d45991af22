"""Declaring tasks and enqueueing them, with every option."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pelton.jobs import BrokerError, Job, JobContext, JobNotFound, Jobs, instances, new_job_id
from tests.jobs.support import new_jobs, on_loop, working


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return new_jobs(tmp_path)


def test_a_task_stays_a_function(jobs: Jobs) -> None:
    @jobs.task
    async def double(value: int) -> int:
        """Twice."""
        return 2 * value

    @jobs.task(name="greet")
    def greet(ctx: JobContext, name: str) -> str:
        ctx.progress(0.5)
        return f"{name} {ctx.id!r} {ctx.task}"

    def marked() -> str:
        return "here"

    marked.name = "not a task's name"  # type: ignore[attr-defined]
    assert jobs.task(name="marked")(marked).name == "marked"
    assert asyncio.run(double(4)) == 8
    assert double.__name__ == "double"
    assert double.__doc__ == "Twice."
    assert double.name == f"{__name__}.test_a_task_stays_a_function.<locals>.double"
    assert greet("Ada") == "Ada '' greet"
    call: Any = greet
    assert call(JobContext(id="7"), "Ada") == "Ada '7' "


def test_wrong_declarations_say_so(jobs: Jobs) -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def stream() -> AsyncIterator[int]:
        yield 1

    async def coroutine() -> None: ...

    for fn in (generator, stream):
        with pytest.raises(TypeError, match="generator"):
            jobs.task(fn)
    with pytest.raises(TypeError, match="cpu=True is for `def`"):
        jobs.task(cpu=True)(coroutine)
    jobs.task(name="same")(coroutine)
    with pytest.raises(ValueError, match="'same' already"):
        jobs.task(name="same")(coroutine)
    with pytest.raises(TypeError, match="decorates a function"):
        jobs.task(jobs.tasks["same"])
    with pytest.raises(ValueError, match=r"sleeps|cron|expression"):
        jobs.cron("sleeps all day")(coroutine)


@on_loop
async def test_enqueue_is_written_when_it_returns(jobs: Jobs) -> None:
    @jobs.task(queue="letters", priority=5, retries=7, timeout=timedelta(seconds=9))
    async def send(user_id: int) -> None: ...

    async with jobs:
        job = await send.enqueue(7)
        # Another connection sees it.
        other = Jobs(jobs.url)
        async with other:
            record = await (await other.job(job.id)).info()
        assert record.task == send.name
        assert record.queue == "letters"
        assert record.priority == 5
        assert record.max_retries == 7
        assert record.timeout == 9
        assert record.state == await job.status() == "queued"
        assert record.payload == b'{"args":{"user_id":7}}'
        assert job == await jobs.job(job.id)


@on_loop
async def test_options(jobs: Jobs) -> None:
    @jobs.task
    async def send(user_id: int) -> None: ...

    async with jobs:
        now = time.time()
        later = send.options(delay=3600, queue="slow", priority=-3, retries=0, timeout=1.5)
        record = await (await later.enqueue(1)).info()
        assert record.state == "scheduled"
        assert record.run_at == pytest.approx(now + 3600, abs=30)
        assert (record.queue, record.priority, record.max_retries) == ("slow", -3, 0)
        assert record.timeout == 1.5
        eta = datetime.now(UTC) + timedelta(hours=2)
        record = await (await later.options(eta=eta).enqueue(1)).info()
        assert record.run_at == pytest.approx(eta.timestamp(), abs=0.01)
        assert record.queue == "slow"
        id = new_job_id()
        assert (await send.options(id=id).enqueue(1)).id == id


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delay": 1, "eta": datetime.now(UTC)}, "not both"),
        ({"eta": datetime(2026, 1, 1)}, "no time zone"),
        ({"priority": 101}, "-100 to 100"),
        ({"timeout": 0}, "not above 0"),
        ({"retries": -1}, "negative"),
        ({"queue": ""}, "empty"),
        ({"id": "x"}, "hexadecimal"),
    ],
)
def test_wrong_options_are_refused(jobs: Jobs, options: dict[str, Any], message: str) -> None:
    @jobs.task
    async def send() -> None: ...

    with pytest.raises(ValueError, match=message):
        send.options(**options)


@on_loop
async def test_a_key_admits_one_unfinished_job(jobs: Jobs) -> None:
    ran = []

    @jobs.task
    async def remind(user_id: int) -> None:
        ran.append(user_id)

    async with working(jobs, concurrency=1):
        first = await remind.options(key="7", delay=0.2).enqueue(7)
        second = await remind.options(key="7").enqueue(7)
        assert second == first
        await first.result(20)
        third = await remind.options(key="7").enqueue(7)
        assert third != first
        await third.result(20)
    assert ran == [7, 7]


@on_loop
async def test_enqueue_many(jobs: Jobs) -> None:
    @jobs.task
    async def add(a: int, b: int = 10) -> int:
        return a + b

    async with working(jobs):
        handles = await add.enqueue_many([(1,), [2, 3], {"a": 4}, *((n,) for n in range(200))])
        expected = [11, 5, 14, *(n + 10 for n in range(200))]
        assert [await handle.result(20) for handle in handles] == expected
        # All or none: the last call is wrong.
        with pytest.raises(ValueError, match="valid integer"):
            await add.enqueue_many([(1,), ("x",)])
        with pytest.raises(TypeError, match="call 1 is int"):
            await add.enqueue_many([(1,), 2])  # type: ignore[list-item]
        with pytest.raises(ValueError, match="for one job"):
            await add.options(key="k").enqueue_many([(1,)])
        assert len(await jobs.records(limit=1000)) == len(handles)
        assert await add.enqueue_many([]) == []


@on_loop
async def test_blocking_forms(jobs: Jobs) -> None:
    @jobs.task
    async def add(a: int, b: int = 10) -> int:
        return a + b

    async with working(jobs):
        # In a thread without a loop, and under the running one.
        job = await asyncio.to_thread(add.delay, 1)
        assert await asyncio.to_thread(job.get, 20) == 11
        assert await add.delay(2).result(20) == 12
        id = new_job_id()
        job = add.apply_async((1,), {"b": 2}, countdown=0.01, task_id=id, priority=3)
        assert job.id == id
        assert await job.result(20) == 3
        with pytest.raises(RuntimeError, match=r"await job\.result"):
            job.get()


@on_loop
async def test_waiting_for_a_result(jobs: Jobs) -> None:
    @jobs.task
    async def never() -> None: ...

    async with jobs:
        job = await never.enqueue()
        with pytest.raises(TimeoutError, match=job.id):
            await job.result(timeout=0.05)
        with pytest.raises(TimeoutError):
            await job.result(timeout=0)
        missing: Job[Any] = Job(jobs, new_job_id(), "x")
        for operation in (missing.info, missing.status, lambda: missing.result(5)):
            with pytest.raises(JobNotFound):
                await operation()
        with pytest.raises(LookupError):
            await jobs.job("0" * 32)
        assert not await missing.cancel()


def test_the_default_broker_is_beside_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PELTON_BROKER", raising=False)
    monkeypatch.chdir(tmp_path)
    code = "from pelton.jobs import Jobs\njobs = Jobs()"
    package = tmp_path / "shop" / "inner"

    def made_in(file: Path, package: str) -> Jobs:
        scope: dict[str, Any] = {"__file__": str(file), "__package__": package}
        exec(compile(code, str(file), "exec"), scope)
        found: Jobs = scope["jobs"]
        return found

    assert made_in(tmp_path / "app.py", "").url == f"sqlite:///{tmp_path}/pelton.db"
    assert made_in(package / "a.py", "shop.inner").url == f"sqlite:///{tmp_path}/pelton.db"
    installed = tmp_path / "site-packages" / "app.py"
    assert made_in(installed, "").url == f"sqlite:///{tmp_path}/pelton.db"
    monkeypatch.setenv("PELTON_BROKER", "sqlite:////elsewhere.db")
    assert made_in(tmp_path / "app.py", "").url == "sqlite:////elsewhere.db"
    assert Jobs("sqlite:////given.db").url == "sqlite:////given.db"


@on_loop
async def test_the_broker_opens_lazily_and_again(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task
    async def noop() -> None: ...

    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240
    job = await noop.enqueue()
    assert (tmp_path / "jobs.db").exists()
    await jobs.stop()
    assert await job.status() == "queued"
    await jobs.stop()
    await jobs.stop()


@on_loop
async def test_a_broken_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_bytes(b"this is no database at all, but long enough" * 100)
    jobs = new_jobs(tmp_path)

    @jobs.task
    async def noop() -> None: ...

    with pytest.raises(BrokerError):
        await jobs.start()
    with pytest.raises(BrokerError):
        await noop.enqueue()


def test_instances_are_known_in_order_while_they_live() -> None:
    before = len(instances())
    first, second = Jobs("sqlite:///a.db"), Jobs("sqlite:///b.db")
    assert instances()[before:] == [first, second]
    del first
    assert instances()[before:] == [second]


@on_loop
async def test_any_thread_may_enqueue(jobs: Jobs) -> None:
    @jobs.task
    async def add(a: int) -> int:
        return a + 1

    results: list[int] = []

    def elsewhere(number: int) -> None:
        async def main() -> None:
            results.append(await (await add.enqueue(number)).result(20))

        asyncio.run(main())

    async with working(jobs):
        threads = [threading.Thread(target=elsewhere, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join, 20)
    assert sorted(results) == [1, 2, 3, 4]
