"""Durable steps, rests and signals."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from pelton.jobs import JobContext, JobFailed, Jobs, PayloadTooLarge

from .support import new_jobs, on_loop, until, working

BROKERS = ("sqlite", "redis", "postgresql")


@dataclass
class Receipt:
    """A step's typed result."""

    number: int
    data: bytes


@on_loop
async def test_finished_steps_are_not_repeated(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    calls: list[str] = []

    async def charge(amount: int) -> Receipt:
        calls.append("charge")
        return Receipt(amount, b"\xff")

    def ship(receipt: Receipt) -> str:
        calls.append("ship")
        return f"shipped {receipt.number} {receipt.data!r}"

    @jobs.task(retries=2, backoff=0)
    async def order(ctx: JobContext, amount: int) -> str:
        receipt = await ctx.step("charge", charge, amount)
        if ctx.attempt == 1:
            raise ConnectionError("between the steps")
        return await ctx.step("ship", ship, receipt)

    async with working(jobs):
        job = await order.enqueue(7)
        assert await job.result(60) == "shipped 7 b'\\xff'"
    assert calls == ["charge", "ship"]


@on_loop
async def test_a_name_that_comes_again_is_another_step(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task(retries=1, backoff=0)
    async def many(ctx: JobContext) -> list[int]:
        values = [await ctx.step("n", lambda n=n: n * 10 + ctx.attempt) for n in range(3)]
        if ctx.attempt == 1:
            raise ValueError("again")
        return values

    async with working(jobs):
        assert await (await many.enqueue()).result(60) == [1, 11, 21]


@on_loop
async def test_steps_that_are_begun_together(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    calls: list[str] = []

    async def call(name: str) -> str:
        calls.append(name)
        return name.upper()

    @jobs.task(retries=1, backoff=0)
    async def both(ctx: JobContext) -> list[str]:
        values = await asyncio.gather(*(ctx.step(name, call, name) for name in "abc"))
        if ctx.attempt == 1:
            raise ConnectionError("again")
        return values

    async with working(jobs):
        job = await both.enqueue()
        assert await job.result(60) == ["A", "B", "C"]
        (first,) = await job.history()
        assert first.error is not None
        assert b"ConnectionError" in first.error
    assert sorted(calls) == ["a", "b", "c"]


@on_loop
async def test_steps_in_a_thread(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    calls: list[int] = []

    @jobs.task(retries=1, backoff=0)
    def work(ctx: JobContext) -> int:
        value = ctx.run_step("one", lambda: calls.append(1) or len(calls))
        if ctx.attempt == 1:
            raise ValueError("again")
        return value

    async with working(jobs):
        assert await (await work.enqueue()).result(60) == 1
    assert calls == [1]


@on_loop
async def test_a_rest_holds_no_worker(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task(retries=0)
    async def slow(ctx: JobContext) -> int:
        await ctx.sleep(0.3)
        await ctx.sleep(0.3)
        return ctx.attempt

    @jobs.task
    async def quick() -> str:
        return "done"

    async with working(jobs, concurrency=1):
        rests = [await slow.enqueue() for _ in range(5)]
        assert await (await quick.enqueue()).result(60) == "done"
        assert [await job.result(60) for job in rests] == [1] * 5
        assert await rests[0].history() == []


@on_loop
async def test_signals(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task
    async def approve(ctx: JobContext) -> list[object]:
        first = await ctx.wait_signal("answer")
        second = await ctx.wait_signal("answer")
        try:
            await ctx.wait_signal("never", timeout=0.1)
        except TimeoutError as error:
            return [first, second, "never" in str(error)]
        return []

    job = await approve.enqueue()
    async with jobs:
        assert await job.signal("answer", {"ok": True})  # before it runs
    async with working(jobs):
        await until(lambda: _waits(jobs, job.id), "it waits for the second")
        assert (await job.info()).run_at is None
        assert await job.signal("answer", [2])
        assert await job.result(60) == [{"ok": True}, [2], True]
        assert not await job.signal("answer", 3)


async def _waits(jobs: Jobs, id: str) -> bool:
    return (await jobs.record(id)).signal == "answer"


@on_loop
async def test_an_attempt_that_no_signal_came_for_is_tried_again(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    seen: list[str] = []

    @jobs.task(retries=1, backoff=0)
    async def approve(ctx: JobContext, patience: dict[str, float]) -> list[object]:
        try:
            await ctx.wait_signal("early", timeout=0)
        except TimeoutError:
            seen.append("no early one")
        answer = await ctx.wait_signal("answer", patience[str(ctx.attempt)])
        return [ctx.attempt, answer]

    async with working(jobs):
        job = await approve.enqueue({"1": 0.0, "2": 3600.0})

        async def second_waits() -> bool:
            record = await jobs.record(job.id)
            return record.state == "dead" or record.signal == "answer"

        await until(second_waits, "the second attempt waits")
        assert await job.signal("early", 1)
        assert await job.signal("answer", 2)
        # What the task went on after is as it was: that signal came too late.
        assert await job.result(60) == [2, 2]
        failed = await approve.enqueue({"1": 0.0, "2": 0.0})
        with pytest.raises(JobFailed, match=r"no signal 'answer' came within 0\.0 s"):
            await failed.result(60)
    assert set(seen) == {"no early one"}


@on_loop
async def test_a_resting_job_can_be_cancelled(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task
    async def forever(ctx: JobContext) -> None:
        await ctx.wait_signal("answer")

    async with working(jobs):
        job = await forever.enqueue()
        await until(lambda: _waits(jobs, job.id), "it waits")
        assert await job.cancel("enough")
        assert await job.status() == "cancelled"


@pytest.mark.brokers("sqlite")
@on_loop
async def test_what_steps_refuse(tmp_path: Path) -> None:
    jobs = Jobs(f"sqlite:///{tmp_path / 'jobs.db'}", payload_limit=1000)

    @jobs.task(retries=0)
    async def large(ctx: JobContext) -> None:
        await ctx.step("large", lambda: "x" * 2000)

    @jobs.task(retries=0)
    async def strange(ctx: JobContext) -> None:
        await ctx.step("strange", object)

    async with working(jobs):
        with pytest.raises(JobFailed, match="PayloadTooLarge"):
            await (await large.enqueue()).result(60)
        with pytest.raises(JobFailed, match="InvalidResult"):
            await (await strange.enqueue()).result(60)
    assert issubclass(PayloadTooLarge, ValueError)


@on_loop
async def test_without_a_job_steps_are_calls(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task
    async def plain(ctx: JobContext) -> int:
        await ctx.sleep(1000)
        return await ctx.step("one", lambda: 1)

    assert await plain() == 1


PROGRAM = """
    import asyncio, os, sys
    from pelton.jobs import JobContext, Jobs, Worker

    jobs = Jobs(sys.argv[1])

    def note(what: str) -> str:
        with open(sys.argv[2], "a") as log:
            log.write(what + "\\n")
        return what

    @jobs.task(name="order", retries=0)
    async def order(ctx: JobContext) -> str:
        await ctx.step("charge", note, "charge")
        await ctx.sleep(0.2)
        await ctx.step("pack", note, "pack")
        if not os.path.exists(sys.argv[3]):
            open(sys.argv[3], "w").close()
            os.kill(os.getpid(), 9)
        await ctx.wait_signal("go")
        return await ctx.step("ship", note, "ship")

    async def main() -> None:
        await Worker(jobs, lease=0.5).run()

    asyncio.run(main())
"""


@pytest.mark.slow
@on_loop
async def test_a_killed_worker_repeats_no_finished_step(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM))
    log, mark = tmp_path / "log", tmp_path / "mark"

    @jobs.task(name="order")
    async def order(ctx: JobContext) -> str: ...

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(program), jobs.url, str(log), str(mark)])

    async with jobs:
        job = await order.enqueue()
        first = start()
        assert await asyncio.to_thread(first.wait, 60) == -signal.SIGKILL
        second = start()
        try:

            async def waits() -> bool:
                return (await job.info()).signal == "go"

            await until(waits, "it waits for the signal")
            os.kill(second.pid, signal.SIGKILL)
            await asyncio.to_thread(second.wait, 60)
            assert await job.signal("go")
            second = start()
            assert await job.result(60) == "ship"
        finally:
            second.kill()
            second.wait()
    assert log.read_text().split() == ["charge", "pack", "ship"]
