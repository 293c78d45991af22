"""`sleep`, on both loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pelton import aio

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_it_returns_its_result(run: Run) -> None:
    async def main() -> None:
        assert await aio.sleep(0) is None
        assert await aio.sleep(-1, "result") == "result"
        assert await aio.sleep(0.001, result=(1, 2)) == (1, 2)

    run(main())


def test_zero_is_one_turn(run: Run) -> None:
    async def main() -> None:
        ran = []
        loop = asyncio.get_running_loop()
        loop.call_soon(ran.append, 1)
        await aio.sleep(0)
        assert ran == [1]
        loop.call_soon(ran.append, 2)
        await aio.sleep(False)
        assert ran == [1, 2]

    run(main())


def test_a_cancelled_sleep_cancels_its_timer() -> None:
    handles: list[asyncio.TimerHandle] = []

    class Watched(asyncio.SelectorEventLoop):
        def call_later(self, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
            handles.append(super().call_later(*args, **kwargs))
            return handles[-1]

    async def main() -> None:
        task = asyncio.create_task(aio.sleep(3600))
        await asyncio.sleep(0)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task

    with asyncio.Runner(loop_factory=Watched) as runner:
        runner.run(main())
    (handle,) = handles
    assert handle.cancelled()


@pytest.mark.parametrize(
    ("delay", "error", "text"),
    [
        (float("nan"), ValueError, "Invalid delay: NaN"),
        ("1", TypeError, "not supported between instances"),
        (None, TypeError, "not supported between instances"),
    ],
)
def test_delays_that_are_none(run: Run, delay: Any, error: type[Exception], text: str) -> None:
    async def main() -> None:
        with pytest.raises(error, match=text):
            await aio.sleep(delay)

    run(main())


def test_it_needs_a_loop() -> None:
    sleeping = aio.sleep(1)
    with pytest.raises(RuntimeError, match="no running event loop"):
        sleeping.send(None)
