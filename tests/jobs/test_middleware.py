"""What stands around jobs: middleware, hooks, events, context, versions, tests without a worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from pelton.jobs import JobContext, JobEvent, JobFailed, Jobs, group, run_ready

from .support import new_jobs, on_loop, working

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
hidden: ContextVar[str] = ContextVar("hidden", default="nobody")


@on_loop
async def test_context_variables_ride_along_by_name(tmp_path: Path) -> None:
    jobs = Jobs(f"sqlite:///{tmp_path / 'jobs.db'}", context=[tenant])

    @jobs.task
    async def who() -> list[str]:
        return [tenant.get(), hidden.get()]

    @jobs.task
    def who_in_a_thread(ctx: JobContext) -> list[Any]:
        return [tenant.get(), hidden.get(), ctx.headers["origin"]]

    async with working(jobs):
        tenant.set("acme")
        hidden.set("secret")
        first = await who.enqueue()
        second = await who_in_a_thread.options(headers={"origin": "web"}).enqueue()
        tenant.set("other")
        assert await first.result(60) == ["acme", "nobody"]
        assert await second.result(60) == ["acme", "nobody", "web"]
        tenant.set(object())  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="JSON"):
            await who.enqueue()


@on_loop
async def test_traces_go_on_where_opentelemetry_is_used(tmp_path: Path) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    jobs = new_jobs(tmp_path)

    @jobs.task
    async def traced() -> str:
        return f"{trace.get_current_span().get_span_context().trace_id:032x}"

    context = trace.SpanContext(
        trace_id=0xABC, span_id=0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1)
    )
    async with working(jobs):
        with trace.use_span(trace.NonRecordingSpan(context)):
            job = await traced.enqueue()
        assert await job.result(60) == f"{0xABC:032x}"


@on_loop
async def test_middleware_stands_around(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    seen: list[str] = []

    @jobs.middleware
    async def outer(ctx: JobContext, call_next: Callable[[], Awaitable[Any]]) -> Any:
        seen.append("outer in")
        try:
            return await call_next()
        finally:
            seen.append("outer out")

    @jobs.middleware
    async def inner(ctx: JobContext, call_next: Callable[[], Awaitable[Any]]) -> Any:
        return await call_next() + 1

    @jobs.middleware
    def blocking(ctx: JobContext, call_next: Callable[[], Any]) -> Any:
        return call_next() * 2

    @jobs.task
    async def one() -> int:
        seen.append("task")
        return 1

    @jobs.task
    def three() -> int:
        return 3

    async with working(jobs):
        assert await (await one.enqueue()).result(60) == 2
        assert await (await three.enqueue()).result(60) == 6
    assert seen == ["outer in", "task", "outer out"]


@on_loop
async def test_hooks_of_enqueueing(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task(name="t")
    async def echo(ctx: JobContext) -> Any:
        return ctx.headers["by"]

    @jobs.before_enqueue
    def sign(task: str, headers: dict[str, Any]) -> None:
        if headers.get("by") == "stranger":
            raise PermissionError("not you")
        headers["by"] = f"{task} signed"

    async with working(jobs):
        assert await (await echo.enqueue()).result(60) == "t signed"
        with pytest.raises(PermissionError):
            await echo.options(headers={"by": "stranger"}).enqueue()


@on_loop
async def test_events(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    seen: list[str] = []

    @jobs.task(retries=1, backoff=0)
    async def flaky(ctx: JobContext) -> int:
        if ctx.attempt == 1:
            raise ValueError("first")
        return 1

    @jobs.on("failed")
    def failed(event: JobEvent) -> None:
        seen.append(event.error)
        raise RuntimeError("a listener's own fault harms nobody")

    with pytest.raises(ValueError, match="no event"):
        jobs.on("exploded", failed)

    async def follow() -> list[str]:
        kinds = []
        async for event in jobs.events():
            kinds.append(event.kind)
            if event.kind == "succeeded":
                break
        return kinds

    async with working(jobs):
        following = asyncio.ensure_future(follow())
        await asyncio.sleep(0)
        await (await flaky.enqueue()).result(60)
        kinds = await asyncio.wait_for(following, 60)
    assert kinds == ["enqueued", "started", "failed", "started", "succeeded"]
    assert seen == ["ValueError: first"]


@on_loop
async def test_older_payloads_are_upgraded(tmp_path: Path) -> None:
    jobs, other = new_jobs(tmp_path), new_jobs(tmp_path)

    @other.task(name="greet")
    async def old(name: str) -> str: ...

    def upgrade(args: dict[str, Any], version: int) -> dict[str, Any]:
        assert version == 1
        return {"names": [args["name"]], "loud": True}

    @jobs.task(name="greet", version=2, upgrade=upgrade, retries=0)
    async def greet(names: list[str], loud: bool = False) -> str:
        return " ".join(names).upper() if loud else " ".join(names)

    async with other:
        first = await old.enqueue("ann")
    async with working(jobs):
        second = await greet.enqueue(["bob"])
        assert await jobs.watch(first.id, 0, 60) is not None
        assert await (await jobs.job(first.id)).result(60) == "ANN"
        assert await second.result(60) == "bob"
    downgraded = new_jobs(tmp_path)

    @downgraded.task(name="greet", retries=0)
    async def old_again(name: str) -> str: ...

    async with jobs:
        third = await greet.enqueue(["eve"])
    async with working(downgraded):
        with pytest.raises(JobFailed, match="version 2"):
            await (await downgraded.job(third.id)).result(60)


@on_loop
async def test_in_memory_and_eager() -> None:
    jobs = Jobs("memory://", eager=True)

    @jobs.task
    async def double(n: int) -> int:
        return 2 * n

    @jobs.task
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    @jobs.task(retries=0)
    def fail() -> None:
        raise ValueError("no")

    async with jobs:
        job = await double.enqueue(4)
        assert await job.status() == "succeeded"
        assert await job.result(0) == 8
        whole = await group(double.s(n) for n in range(3)).then(total.s()).enqueue()
        assert await whole.result(60) == 6
        failed = await fail.enqueue()
        with pytest.raises(JobFailed, match="no"):
            await failed.result(0)
        later = await double.options(delay=3600).enqueue(1)
        assert await later.status() == "scheduled"


def test_eager_where_nothing_is_async() -> None:
    jobs = Jobs("memory://", eager=True)

    @jobs.task
    def double(n: int) -> int:
        return 2 * n

    assert double.delay(4).get(60) == 8


@on_loop
async def test_working_off_a_queue() -> None:
    jobs = Jobs("memory://test-working-off")
    same = Jobs("memory://test-working-off")

    @jobs.task
    async def double(n: int) -> int:
        return 2 * n

    async with jobs, same:
        handles = await double.enqueue_many([(n,) for n in range(50)])
        await run_ready(jobs)
        assert [await handle.result(0) for handle in handles] == [2 * n for n in range(50)]
        record = await same.record(handles[0].id)
        assert json.loads(record.result or b"") == 0
