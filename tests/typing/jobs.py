"""Read by mypy, not run: what `@jobs.task` makes of a signature.

What is wrong is marked with the error that mypy must give, which strict mypy checks: an ignore that
is not needed is an error.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, assert_type

from pelton.jobs import (
    GroupJob,
    Job,
    JobContext,
    Jobs,
    Signature,
    WorkflowJob,
    chain,
    group,
)

jobs = Jobs()


@jobs.task
async def bare(user_id: int, name: str = "") -> str:
    return name


@jobs.task(retries=5, timeout=30)
async def with_context(ctx: JobContext, user_id: int) -> bool:
    return True


@jobs.task
def in_thread(user_id: int) -> float:
    return 0.5


@jobs.task(cpu=True)
def in_process(ctx: JobContext, path: str, *, width: int) -> bytes:
    return b""


@jobs.cron("0 3 * * 2", tz="Europe/Paris")
async def weekly() -> None: ...


@jobs.every(30)
@jobs.task(queue="ticks")
def ticking(count: int = 1) -> int:
    return count


async def right() -> None:
    assert_type(await bare.enqueue(7), Job[str])
    assert_type(await bare.enqueue(7, name="a"), Job[str])
    assert_type(await (await with_context.enqueue(7)).result(), bool)
    assert_type(await with_context.options(delay=5).enqueue(user_id=7), Job[bool])
    assert_type(in_thread.delay(7).get(), float)
    assert_type(await in_process.enqueue("a", width=3), Job[bytes])
    assert_type(in_process.apply_async(("a",), {"width": 3}), Job[bytes])
    assert_type(await bare.enqueue_many([(1,), {"user_id": 2}]), list[Job[str]])
    assert_type(bare.s(7), Signature[str])
    assert_type(await weekly.enqueue(), Job[None])
    assert_type(await ticking.enqueue(count=2), Job[int])


async def steps(ctx: JobContext) -> None:
    async def charge(amount: int, *, currency: str) -> bytes:
        return b""

    def ship(receipt: bytes) -> float:
        return 0.5

    assert_type(await ctx.step("charge", charge, 7, currency="EUR"), bytes)
    assert_type(await ctx.step("ship", ship, b""), float)
    assert_type(ctx.run_step("ship", ship, b""), float)
    await ctx.step("charge", charge, "7", currency="EUR")  # type: ignore[arg-type]
    ctx.run_step("ship", ship, 7)  # type: ignore[arg-type]


async def workflows() -> None:
    assert_type(await chain(bare.s(7), in_thread.si(7)).enqueue(), WorkflowJob)
    assert_type(await group(bare.s(7)).on_error(bare.s()).enqueue(), GroupJob)
    assert_type(bare.s(7).on_error(bare.s()), Signature[str])


def still_functions() -> None:
    call: Coroutine[Any, Any, str] = bare(7)
    call.close()
    assert_type(in_thread(7), float)
    assert_type(in_process("a", width=3), bytes)
    assert_type(ticking(), int)


async def wrong() -> None:
    await bare.enqueue("7")  # type: ignore[arg-type]
    await bare.enqueue()  # type: ignore[call-arg]
    await bare.enqueue(7, nome="a")  # type: ignore[call-arg]
    await with_context.enqueue(JobContext(), 7)  # type: ignore[call-arg,arg-type]
    await in_process.enqueue("a")  # type: ignore[call-arg]
    in_thread.delay(None)  # type: ignore[arg-type]
    await bare.options(dely=5).enqueue(7)  # type: ignore[call-arg]
    await bare.options(delay="soon").enqueue(7)  # type: ignore[arg-type]
    await weekly.enqueue(1)  # type: ignore[call-arg]
    bare.si("7")  # type: ignore[arg-type]
