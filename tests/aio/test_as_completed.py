"""`as_completed`, with both kinds of iteration on every version of Python."""

from __future__ import annotations

import asyncio

import pytest

from pelton import aio
from tests.aio.support import Run, failure, forever, turns, value


def test_results_in_the_order_of_completion(run: Run) -> None:
    async def main() -> list[str]:
        waits = [value("third", 6), value("first"), value("second", 3)]
        return [await result for result in aio.as_completed(waits)]

    assert run(main()) == ["first", "second", "third"]


def test_futures_by_async_for(run: Run) -> None:
    async def main() -> None:
        slow, quick = asyncio.create_task(value("slow", 4)), asyncio.create_task(value("quick"))
        found = []
        async for task in aio.as_completed([slow, quick]):
            assert task.done()
            found.append(task)
        assert found == [quick, slow]

    run(main())


def test_it_may_be_taken_up_again(run: Run) -> None:
    async def main() -> list[int]:
        completed = aio.as_completed([value(n, n) for n in range(4)])
        results = []
        for result in completed:
            results.append(await result)
            if len(results) == 2:
                break
        async for task in completed:
            results.append(task.result())
        return results

    assert run(main()) == [0, 1, 2, 3]


def test_a_timeout_ends_what_is_left(run: Run) -> None:
    async def main() -> None:
        task = asyncio.create_task(forever())
        results = list(aio.as_completed([task, value(1)], timeout=0.01))
        assert await results[0] == 1
        with pytest.raises(TimeoutError):
            await results[1]
        assert not task._callbacks  # type: ignore[attr-defined]
        task.cancel()

    run(main())


def test_a_cancelled_wait_leaves_the_next_one_to_others(run: Run) -> None:
    async def main() -> None:
        gate: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        first, second = aio.as_completed([gate, asyncio.create_task(forever())])
        one, two = asyncio.create_task(first), asyncio.create_task(second)  # type: ignore[arg-type]
        await turns(2)
        gate.set_result(5)
        await turns(1)
        one.cancel()
        assert await two == 5
        with pytest.raises(asyncio.CancelledError):
            await one

    run(main())


def test_errors_come_with_their_turn(run: Run) -> None:
    async def main() -> None:
        (result,) = aio.as_completed([failure(KeyError(), 1)])
        with pytest.raises(KeyError):
            await result

    run(main())


def test_nothing_and_wrong_things(run: Run) -> None:
    async def main() -> None:
        assert list(aio.as_completed([])) == []
        coroutine = value(1)
        with pytest.raises(TypeError, match="expects an iterable of awaitables, not coroutine"):
            list(aio.as_completed(coroutine))  # type: ignore[arg-type]
        coroutine.close()

    run(main())
