"""`wait_for`, where CPython's own tests do not look."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pelton import aio
from tests.aio.support import Awaitable, Run, failure, forever, turns, value


@pytest.mark.parametrize("timeout", [None, 60, 60.0])
def test_it_returns_what_the_awaitable_returns(run: Run, timeout: float | None) -> None:
    async def main() -> None:
        assert await aio.wait_for(value((1, 2), 1), timeout) == (1, 2)
        assert await aio.wait_for(Awaitable(7), timeout) == 7
        assert await aio.wait_for(asyncio.create_task(value(8)), timeout=timeout) == 8
        with pytest.raises(ZeroDivisionError):
            await aio.wait_for(failure(ZeroDivisionError(), 1), timeout)

    run(main())


def test_a_coroutine_runs_in_the_callers_task(run: Run) -> None:
    async def inner() -> Any:
        await asyncio.sleep(0)
        return asyncio.current_task()

    async def main() -> None:
        assert await aio.wait_for(inner(), 60) is asyncio.current_task()

    run(main())


def test_it_is_a_coroutine_for_everybody(run: Run) -> None:
    async def main() -> None:
        waiting = aio.wait_for(value(1), 60)
        assert asyncio.iscoroutine(waiting)
        task = asyncio.create_task(waiting, name="waits")
        assert "wait_for" in repr(task)
        assert await task == 1

    run(main())


def test_too_late_at_once_never_begins_a_coroutine(run: Run) -> None:
    begun = []

    async def inner() -> None:
        begun.append(True)

    async def main() -> None:
        for timeout in (0, -1, -0.5):
            with pytest.raises(TimeoutError) as caught:
                await aio.wait_for(inner(), timeout)
            assert isinstance(caught.value.__cause__, asyncio.CancelledError)

    run(main())
    assert begun == []


def test_too_late_at_once_takes_what_is_done(run: Run) -> None:
    async def main() -> None:
        done = asyncio.get_running_loop().create_future()
        done.set_result(3)
        assert await aio.wait_for(done, 0) == 3

    run(main())


def test_a_result_that_ignores_the_cancellation_counts(run: Run) -> None:
    async def stubborn() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            return "nevertheless"
        return "never"

    async def main() -> str:
        task = asyncio.create_task(stubborn())
        await turns(1)
        return await aio.wait_for(task, 0)

    assert run(main()) == "nevertheless"


def test_cancelling_the_wait_cancels_what_it_waits_for(run: Run) -> None:
    async def main() -> None:
        inner = asyncio.create_task(forever())
        outer = asyncio.create_task(aio.wait_for(inner, 60))
        await turns(2)
        outer.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert inner.cancelled()
        assert outer.cancelled()

    run(main())


def test_what_cannot_be_awaited(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="can't be used in 'await' expression"):
            await aio.wait_for(5, 60)  # type: ignore[arg-type]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(main())


def test_unawaited_it_warns() -> None:
    async def main() -> None:
        inner = value(1)
        aio.wait_for(inner, 1)
        inner.close()

    with pytest.warns(RuntimeWarning, match="coroutine 'wait_for' was never awaited"):
        asyncio.run(main())


def test_closed_it_closes_what_it_waits_for(run: Run) -> None:
    ended = []

    async def inner() -> None:
        try:
            await forever()
        finally:
            ended.append(True)

    async def main() -> None:
        waiting = aio.wait_for(inner(), 60)

        async def step() -> None:
            waiting.send(None)
            waiting.close()

        await asyncio.create_task(step())

    run(main())
    assert ended == [True]
