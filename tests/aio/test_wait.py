"""`wait`, where CPython's own tests do not look."""

from __future__ import annotations

import asyncio

import pytest

from pelton import aio
from tests.aio.support import Run, failure, forever, turns, value


def test_the_sets_hold_the_very_futures(run: Run) -> None:
    async def main() -> None:
        quick, slow = asyncio.create_task(value(1)), asyncio.create_task(forever())
        done, pending = await aio.wait([quick, slow, quick], return_when=aio.FIRST_COMPLETED)
        assert (done, pending) == ({quick}, {slow})
        slow.cancel()

    run(main())


def test_callbacks_are_taken_back(run: Run) -> None:
    async def main() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await aio.wait([future], timeout=0.001)
        waiting = asyncio.create_task(aio.wait([future]))
        await turns(2)
        assert len(future._callbacks or ()) == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not future._callbacks
        assert not future.cancelled()

    run(main())


def test_first_exception_passes_over_results_and_cancellations(run: Run) -> None:
    async def main() -> None:
        cancelled = asyncio.create_task(forever())
        tasks = [
            cancelled,
            asyncio.create_task(value(1, 1)),
            asyncio.create_task(failure(KeyError(), 4)),
            asyncio.create_task(forever()),
        ]
        await turns(1)
        cancelled.cancel()
        done, pending = await aio.wait(tasks, return_when="FIRST_EXCEPTION")
        assert done == set(tasks[:3])
        assert pending == {tasks[3]}
        tasks[3].cancel()

    run(main())


def test_wrong_arguments(run: Run) -> None:
    async def main() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with pytest.raises(ValueError, match="is empty"):
            await aio.wait([])
        with pytest.raises(ValueError, match="Invalid return_when value: -1"):
            await aio.wait([future], return_when=-1)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="expect a list of futures, not Future"):
            await aio.wait(future)  # type: ignore[arg-type]
        coroutine = value(1)
        with pytest.raises(TypeError, match="Passing coroutines is forbidden"):
            await aio.wait([coroutine])  # type: ignore[type-var]
        coroutine.close()

    run(main())


def test_it_takes_python_futures(run: Run) -> None:
    """Any future with asyncio's methods will do."""
    kind = asyncio.futures._PyFuture  # type: ignore[attr-defined]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = kind(loop=loop)
        loop.call_soon(future.set_result, 1)
        done, pending = await aio.wait([future])
        assert (done, pending) == ({future}, set())

    run(main())
