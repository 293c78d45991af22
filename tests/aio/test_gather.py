"""`gather`, where CPython's own tests do not look."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from pelton import aio
from tests.aio.support import Awaitable, Run, dies_without_collector, failure, forever, turns, value


def test_results_come_in_the_order_of_the_arguments(run: Run) -> None:
    async def main() -> Any:
        return await aio.gather(value(1, 5), value(2), Awaitable(3), asyncio.create_task(value(4)))

    assert run(main()) == [1, 2, 3, 4]


def test_many_and_the_same_ones_again(run: Run) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(value(n)) for n in range(300)]
        same = value("same")
        gathered = await aio.gather(*tasks, same, *tasks, same)
        assert gathered == [*range(300), "same", *range(300), "same"]

    run(main())


def test_equal_awaitables_count_once(run: Run) -> None:
    class Equal(Awaitable):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

        def __hash__(self) -> int:
            return 1

    async def main() -> Any:
        return await aio.gather(Equal("first"), Equal("second"))

    assert run(main()) == ["first", "first"]


def test_it_is_a_future_of_the_loop(run: Run) -> None:
    async def main() -> None:
        gathering = aio.gather(value(1), value(2))
        assert isinstance(gathering, asyncio.Future)
        assert gathering.get_loop() is asyncio.get_running_loop()
        assert repr(gathering).startswith("<_GatheringFuture pending")
        assert await gathering == [1, 2]
        empty = aio.gather()
        assert empty.done()
        assert await empty == []

    run(main())


def test_all_done_already(run: Run) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(value(n)) for n in range(2)]
        await turns(2)
        gathering = aio.gather(*tasks)
        assert gathering.done()
        assert gathering.result() == [0, 1]

    run(main())


def test_the_first_failure_leaves_the_others_alone(run: Run) -> None:
    async def main() -> None:
        slow = asyncio.create_task(value("slow", 5))
        with pytest.raises(KeyError):
            await aio.gather(slow, failure(KeyError()), failure(ValueError(), 2))
        assert await slow == "slow"

    run(main())


def test_failures_and_cancellations_among_the_results(run: Run) -> None:
    async def main() -> None:
        cancelled = asyncio.create_task(forever())
        asyncio.get_running_loop().call_soon(cancelled.cancel)
        error = KeyError()
        results: list[Any] = await aio.gather(
            value(1), failure(error), cancelled, return_exceptions=True
        )
        assert results[:2] == [1, error]
        assert isinstance(results[2], asyncio.CancelledError)
        assert results[2].args == ("",)

    run(main())


def test_cancelling_it_cancels_all_that_is_pending(run: Run) -> None:
    async def main() -> None:
        done, pending = asyncio.create_task(value(1)), asyncio.create_task(forever())
        gathering = aio.gather(done, pending, return_exceptions=True)
        await turns(2)
        assert gathering.cancel("stop")
        assert not gathering.done()
        with pytest.raises(asyncio.CancelledError):
            await gathering
        assert pending.cancelled()
        assert not gathering.cancel()

    run(main())


def test_futures_of_two_loops() -> None:
    other = asyncio.new_event_loop()
    try:
        foreign = other.create_future()

        async def main() -> None:
            mine = asyncio.get_running_loop().create_future()
            with pytest.raises(ValueError, match="belongs to a different loop"):
                aio.gather(mine, foreign)

        asyncio.run(main())
    finally:
        other.close()


def test_what_cannot_be_awaited(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TypeError):
            aio.gather(5)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="unexpected keyword argument 'loop'"):
            aio.gather(loop=None)  # type: ignore[call-overload]

    run(main())


def test_a_dropped_gathering_does_not_report_its_children(run: Run) -> None:
    reports: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        gathering = aio.gather(failure(KeyError()), failure(ValueError(), 1))
        await turns(4)
        with pytest.raises(KeyError):
            gathering.result()
        del gathering
        gc.collect()

    run(main())
    assert reports == []


def test_it_leaves_no_cycle(run: Run) -> None:
    async def main() -> None:
        gathering = aio.gather(value(1), value(2))
        await gathering
        futures = [gathering]
        del gathering
        await turns(1)
        assert dies_without_collector(futures.pop)

    run(main())
