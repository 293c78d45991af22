"""Running jobs: on the loop and in threads; retries, timeouts, cancellation, progress, stopping."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pelton.jobs import JobCancelled, JobContext, JobFailed, Jobs, Retry, Worker
from tests.jobs.support import new_jobs, on_loop, until, working

BROKERS = ("sqlite", "redis", "postgresql", "amqp")


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return new_jobs(tmp_path)


@on_loop
async def test_async_tasks_run_on_the_loop_and_others_in_threads(jobs: Jobs) -> None:
    @jobs.task
    async def on_the_loop() -> bool:
        return threading.current_thread() is threading.main_thread()

    @jobs.task
    def elsewhere() -> bool:
        return threading.current_thread() is threading.main_thread()

    async with working(jobs):
        assert await (await on_the_loop.enqueue()).result(20) is True
        assert await (await elsewhere.enqueue()).result(20) is False


@on_loop
async def test_many_jobs_of_both_kinds(jobs: Jobs) -> None:
    @jobs.task
    async def plus(n: int) -> int:
        await asyncio.sleep(0)
        return n + 1

    @jobs.task
    def minus(n: int) -> int:
        return n - 1

    async with working(jobs, concurrency=20, threads=3) as worker:
        up = await plus.enqueue_many([(n,) for n in range(300)])
        down = await minus.enqueue_many([(n,) for n in range(300)])
        assert [await job.result(20) for job in up] == list(range(1, 301))
        assert [await job.result(20) for job in down] == list(range(-1, 299))
        await until(lambda: worker.running == 0, "all outcomes are in")
        assert worker.processed == 600


@on_loop
async def test_concurrency_is_a_limit(jobs: Jobs) -> None:
    now = highest = 0

    @jobs.task
    async def count() -> None:
        nonlocal now, highest
        now += 1
        highest = max(highest, now)
        for _ in range(5):
            await asyncio.sleep(0)
        now -= 1

    async with working(jobs, concurrency=3):
        for job in await count.enqueue_many([()] * 40):
            await job.result(20)
    assert highest == 3


@on_loop
async def test_the_context_tells_what_it_is(jobs: Jobs) -> None:
    @jobs.task(queue="letters", retries=1, backoff=0.0)
    async def describe(ctx: JobContext, word: str) -> list[Any]:
        if ctx.attempt == 1:
            raise ValueError("again")
        return [ctx.id, ctx.task, ctx.queue, ctx.attempt, ctx.max_retries, ctx.cancelled, word]

    async with working(jobs):
        job = await describe.enqueue("hi")
        expected = [job.id, describe.name, "letters", 2, 1, False, "hi"]
        assert await job.result(20) == expected


@on_loop
async def test_failed_attempts_are_retried_up_to_the_limit(jobs: Jobs) -> None:
    attempts: list[int] = []

    @jobs.task(retries=2, backoff=0.001)
    async def fails(ctx: JobContext) -> None:
        attempts.append(ctx.attempt)
        raise ValueError(f"attempt {ctx.attempt} ☹")

    async with working(jobs):
        job = await fails.enqueue()
        with pytest.raises(JobFailed) as caught:
            await job.result(20)
        assert await job.status() == "dead"
    assert attempts == [1, 2, 3]
    assert caught.value.type == "ValueError"
    assert caught.value.message == "attempt 3 ☹"
    assert 'raise ValueError(f"attempt' in caught.value.traceback
    assert str(caught.value) == f"job {job.id} ({fails.name}) failed: ValueError: attempt 3 ☹"


@pytest.mark.parametrize("kind", ["async", "thread"])
@on_loop
async def test_which_errors_are_retried(jobs: Jobs, kind: str) -> None:
    def run(ctx: JobContext, error: str) -> int:
        if ctx.attempt > 1:
            return ctx.attempt
        raise {"key": KeyError, "os": OSError, "file": FileNotFoundError}[error]("first")

    async def run_async(ctx: JobContext, error: str) -> int:
        return run(ctx, error)

    picky: Any = jobs.task(
        name="picky", backoff=0.0, retry_on=OSError, give_up_on=(FileNotFoundError,)
    )(run_async if kind == "async" else run)

    async with working(jobs):
        assert await (await picky.enqueue("os")).result(20) == 2
        for error in ("key", "file"):
            with pytest.raises(JobFailed, match="first"):
                await (await picky.enqueue(error)).result(20)


@on_loop
async def test_retry_asks_for_a_time(jobs: Jobs) -> None:
    @jobs.task(backoff=3600, jitter=False, give_up_on=Exception)
    async def soon(ctx: JobContext) -> int:
        if ctx.attempt == 1:
            raise Retry("not yet", delay=0.01)
        return ctx.attempt

    @jobs.task(retries=1)
    async def later() -> None:
        raise Retry(delay=1000)

    async with working(jobs):
        assert await (await soon.enqueue()).result(20) == 2
        job = await later.enqueue()
        await until(lambda: _is(job, "scheduled"), "the second attempt is scheduled")
        record = await job.info()
        assert record.attempt == 1
        assert record.run_at is not None
        assert record.run_at - record.created_at > 900
    with pytest.raises(ValueError, match="not a duration"):
        Retry(delay=-1)


async def _is(job: Any, state: str) -> bool:
    return bool(await job.status() == state)


@on_loop
async def test_dead_and_cancelled_jobs_run_again_on_request(jobs: Jobs) -> None:
    broken = True

    @jobs.task(retries=0)
    async def mends() -> str:
        if broken:
            raise RuntimeError("broken")
        return "mended"

    async with working(jobs):
        job = await mends.enqueue()
        with pytest.raises(JobFailed, match="broken"):
            await job.result(20)
        broken = False
        assert await jobs.retry(job.id)
        assert await job.result(20) == "mended"
        assert not await jobs.retry(job.id)
        assert await jobs.delete(job.id)
        assert await jobs.records() == []


@pytest.mark.parametrize("kind", ["async", "thread"])
@on_loop
async def test_an_attempt_has_a_time_limit(jobs: Jobs, kind: str) -> None:
    flags: list[bool] = []
    release = threading.Event()

    @jobs.task(timeout=0.05, retries=1, backoff=0.0)
    async def sleeps(ctx: JobContext) -> str:
        if ctx.attempt == 1:
            try:
                await asyncio.sleep(3600)
            finally:
                flags.append(ctx.cancelled)
        return "second"

    @jobs.task(timeout=0.05, retries=1, backoff=0.0)
    def waits(ctx: JobContext) -> str:
        if ctx.attempt == 1:
            release.wait(20)
            flags.append(ctx.cancelled)
        return "second"

    async with working(jobs):
        job = await (sleeps if kind == "async" else waits).enqueue()
        assert await job.result(20) == "second"
        record = await job.info()
        assert record.error is not None
        assert b"longer than its timeout of 0.05 s" in record.error
        release.set()
        await until(lambda: flags == [True], "the first attempt sees that it was given up")


@on_loop
async def test_a_running_async_job_is_cancelled(jobs: Jobs) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    @jobs.task(retries=5)
    async def waits() -> None:
        started.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async with working(jobs):
        job = await waits.enqueue()
        await started.wait()
        assert await job.cancel("changed my mind")
        with pytest.raises(JobCancelled):
            await job.result(20)
        assert ended.is_set()
        assert not await job.cancel()


@on_loop
async def test_a_job_in_a_thread_is_told_to_end(jobs: Jobs) -> None:
    started, seen = threading.Event(), threading.Event()

    @jobs.task(retries=5)
    def waits(ctx: JobContext) -> None:
        started.set()
        while not ctx.cancelled:
            seen.wait(0.005)
        seen.set()

    async with working(jobs):
        job = await waits.enqueue()
        await until(started.is_set, "it runs")
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result(20)
        await until(seen.is_set, "the task saw it")


@on_loop
async def test_jobs_that_do_not_run_are_cancelled_at_once(jobs: Jobs) -> None:
    ran = []

    @jobs.task
    async def work() -> None:
        ran.append(1)

    async with jobs:
        queued = await work.enqueue()
        delayed = await work.options(delay=3600).enqueue()
        for job in (queued, delayed):
            assert await job.cancel("not needed")
            with pytest.raises(JobCancelled, match="not needed"):
                await job.result(5)
        expired = await work.options(expires=0).enqueue()
        async with working(jobs):
            with pytest.raises(JobCancelled, match="expired"):
                await expired.result(20)
    assert ran == []


@on_loop
async def test_a_task_that_cancels_itself_has_failed(jobs: Jobs) -> None:
    @jobs.task(retries=0)
    async def confused() -> None:
        raise asyncio.CancelledError

    @jobs.task(retries=0)
    async def exits() -> None:
        sys.exit(3)

    @jobs.task(retries=0)
    def exits_in_thread() -> None:
        sys.exit(3)

    async with working(jobs):
        for task, message in ((confused, "CancelledError"), (exits, "3"), (exits_in_thread, "3")):
            with pytest.raises(JobFailed, match=message):
                await (await task.enqueue()).result(20)


@pytest.mark.parametrize("kind", ["async", "thread"])
@on_loop
async def test_progress_reaches_who_watches(jobs: Jobs, kind: str) -> None:
    gate = threading.Event()

    @jobs.task
    async def steps(ctx: JobContext) -> None:
        await ctx.progress(0.5, "half")
        await asyncio.to_thread(gate.wait, 20)

    @jobs.task
    def steps_in_thread(ctx: JobContext) -> None:
        ctx.progress(0.5, "half")
        gate.wait(20)

    async with working(jobs):
        job = await (steps if kind == "async" else steps_in_thread).enqueue()
        seen = []
        async for record in job.updates():
            seen.append(record)
            if record.progress == 0.5 and record.state == "running":
                assert record.message == "half"
                gate.set()
        assert seen[-1].state == "succeeded"
        versions = [record.version for record in seen]
        assert versions == sorted(set(versions))
    with pytest.raises(ValueError, match="0 to 1"):
        JobContext().progress(1.5)


@on_loop
async def test_larger_priorities_run_first(jobs: Jobs) -> None:
    order: list[int] = []

    @jobs.task
    async def note(number: int) -> None:
        order.append(number)

    async with jobs:
        handles = [await note.options(priority=n).enqueue(n) for n in (0, -100, 100, 5)]
        async with working(jobs, concurrency=1):
            for handle in handles:
                await handle.result(20)
    assert order == [100, 5, 0, -100]


@on_loop
async def test_workers_serve_their_queues_and_pause(jobs: Jobs) -> None:
    @jobs.task
    async def work() -> None: ...

    async with working(jobs, queues=["a", "b"]):
        elsewhere = await work.options(queue="c").enqueue()
        for queue in ("a", "b"):
            await (await work.options(queue=queue).enqueue()).result(20)
        await jobs.pause("a")
        paused = await work.options(queue="a").enqueue()
        await (await work.options(queue="b").enqueue()).result(20)
        assert await paused.status() == "queued"
        await jobs.resume("a")
        await paused.result(20)
        assert await elsewhere.status() == "queued"
        states = {record.name: record.counts for record in await jobs.queue_records()}
        assert states["c"]["queued"] == 1


@on_loop
async def test_an_unknown_task_is_kept_for_a_worker_that_knows_it(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    newer = Jobs(jobs.url)

    @newer.task(name="new", retries=3)
    async def new() -> str:
        return "known"

    async with newer:
        async with working(jobs, unknown_task_delay=0.2):
            job = await new.enqueue()
            await until(lambda: "no task 'new'" in caplog.text, "the old worker refused it")
            hopeless = await new.options(retries=0).enqueue()
            with pytest.raises(JobFailed, match=r"UnknownTask.*no task 'new'"):
                await hopeless.result(20)
        async with Worker(newer):
            assert await job.result(20) == "known"
            assert await newer.retry(hopeless.id)
            assert await hopeless.result(20) == "known"


@on_loop
async def test_arguments_of_another_version_are_dead_with_a_reason(jobs: Jobs) -> None:
    older = Jobs(jobs.url)

    @older.task(name="send")
    async def send_old(user: str, gone: int = 1) -> None: ...

    @jobs.task(name="send")
    async def send(user: int) -> None: ...

    async with older, working(jobs):
        for args in (("x",), ("5", 7)):
            job = await send_old.enqueue(*args)
            with pytest.raises(JobFailed, match=r"InvalidArguments.*(user|gone)"):
                await job.result(20)


@on_loop
async def test_context_variables_are_fresh_for_each_job(jobs: Jobs) -> None:
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(7)

    @jobs.task
    async def touch() -> int:
        before = variable.get()
        variable.set(1)
        return before

    @jobs.task
    def touch_in_thread() -> int:
        before = variable.get()
        variable.set(1)
        return before

    async with working(jobs, threads=1):
        for task in (touch, touch, touch_in_thread, touch_in_thread):
            assert await (await task.enqueue()).result(20) == 7


@on_loop
async def test_stop_lets_jobs_end_and_returns_the_others(jobs: Jobs) -> None:
    started: list[str] = []
    gate = asyncio.Event()

    @jobs.task
    async def ends(ctx: JobContext) -> int:
        started.append("ends")
        await gate.wait()
        return ctx.attempt

    @jobs.task
    async def stays(ctx: JobContext) -> int:
        started.append("stays")
        if ctx.attempt == 1 and len(started) < 4:
            await asyncio.sleep(3600)
        return ctx.attempt

    async with jobs:
        worker = Worker(jobs, concurrency=2)
        await worker.start()
        first, second = await ends.enqueue(), await stays.enqueue()
        await until(lambda: len(started) == 2, "both run")
        third = await ends.enqueue()
        stopping = asyncio.create_task(worker.stop(grace=1.0))
        await asyncio.sleep(0)
        gate.set()
        await stopping
        assert await first.result(5) == 1
        assert await second.status() == "queued"
        assert await third.status() == "queued"
        started.append("again")
        async with working(jobs):
            # The attempt that was returned does not count.
            assert await second.result(20) == 1
            assert await third.result(20) == 1


@on_loop
async def test_stop_returns_jobs_that_wait_for_a_thread(jobs: Jobs) -> None:
    gate = threading.Event()

    @jobs.task
    def holds() -> None:
        gate.wait(20)

    async with jobs:
        worker = Worker(jobs, threads=1)
        await worker.start()
        first = await holds.enqueue()
        await until(lambda: _is(first, "running"), "it runs")
        second = await holds.enqueue()
        await until(lambda: _is(second, "running"), "it waits for the thread")
        await worker.stop(grace=0.0)
        assert await first.status() == await second.status() == "queued"
        gate.set()


@on_loop
async def test_run_ends_on_request(jobs: Jobs) -> None:
    @jobs.task
    async def work() -> int:
        return 1

    async with jobs:
        worker = Worker(jobs)
        ready = asyncio.Event()
        running = asyncio.create_task(worker.run(ready.set))
        await ready.wait()
        assert [record.name for record in await jobs.worker_records()] == [worker.name]
        assert await (await work.enqueue()).result(20) == 1
        worker.request_stop()
        await running
        assert await jobs.worker_records() == []


def test_a_worker_refuses_nonsense(jobs: Jobs) -> None:
    with pytest.raises(ValueError, match="needs a Jobs object"):
        Worker()
    for option in ("concurrency", "threads", "processes", "lease"):
        with pytest.raises(ValueError, match=option):
            Worker(jobs, **{option: 0})  # type: ignore[arg-type]


@on_loop
async def test_one_worker_serves_several_jobs_objects(tmp_path: Path) -> None:
    first, second = new_jobs(tmp_path), new_jobs(tmp_path)
    third = Jobs(f"sqlite:///{tmp_path / 'other.db'}")
    for number, each in enumerate((first, second, third)):

        @each.task(name=f"n{number}")
        async def work() -> str:
            return "done"

    worker = Worker(first, second, third)
    async with first, second, third, worker:
        for each in (first, second, third):
            for task in each.tasks.values():
                assert await (await task.enqueue()).result(20) == "done"
    clash = new_jobs(tmp_path)

    @clash.task(name="n0")
    async def other() -> None: ...

    with pytest.raises(ValueError, match="task 'n0' each"):
        await Worker(first, clash).start()


@on_loop
async def test_two_workers_share_a_file(jobs: Jobs) -> None:
    ran: list[int] = []

    @jobs.task
    async def note(number: int) -> None:
        await asyncio.sleep(0)
        ran.append(number)

    other = Jobs(jobs.url)
    other.tasks.update(jobs.tasks)
    async with working(jobs, concurrency=5), working(other, concurrency=5):
        for job in await note.enqueue_many([(n,) for n in range(500)]):
            await job.result(20)
    assert sorted(ran) == list(range(500))


@on_loop
async def test_records_and_logs_carry_the_job(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pelton.jobs")

    @jobs.task(retries=1, backoff=0.0)
    async def talks(ctx: JobContext) -> None:
        ctx.logger.info("hello from %s", "inside")
        raise ValueError("oh")

    async with working(jobs):
        job = await talks.enqueue()
        with pytest.raises(JobFailed):
            await job.result(20)
        await until(lambda: "is dead" in caplog.text, "the end is logged")
    spoken = [record for record in caplog.records if "hello from inside" in record.getMessage()]
    assert [vars(record)["job_attempt"] for record in spoken] == [1, 2]
    assert {vars(record)["job_id"] for record in spoken} == {job.id}
    levels = [r.levelname for r in caplog.records if "ValueError: oh" in r.getMessage()]
    assert levels == ["WARNING", "ERROR"]
