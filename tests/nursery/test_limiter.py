"""Capacity limiters."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

import pelton
from tests.nursery.conftest import Run
from tests.nursery.test_scope import FOREVER, turns


def test_bounds_and_order(run: Run) -> None:
    async def main() -> None:
        limiter = pelton.CapacityLimiter(2)
        running: list[int] = []
        order: list[int] = []

        async def borrow(number: int) -> None:
            async with limiter:
                running.append(number)
                order.append(number)
                assert len(running) <= 2
                await asyncio.sleep(0.001)
                running.remove(number)

        async with pelton.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(borrow, number)
            await turns(3)
            statistics = limiter.statistics()
            assert statistics.borrowed_tokens == limiter.borrowed_tokens == 2
            assert statistics.tasks_waiting == 4
            assert len(statistics.borrowers) == 2
            assert limiter.available_tokens == 0
        assert order == list(range(6))
        assert limiter.available_tokens == 2

    run(main)


def test_on_behalf_of(run: Run) -> None:
    async def main() -> None:
        limiter = pelton.CapacityLimiter(1)
        limiter.acquire_on_behalf_of_nowait("a")
        with pytest.raises(RuntimeError, match="already"):
            limiter.acquire_on_behalf_of_nowait("a")
        with pytest.raises(pelton.WouldBlock):
            limiter.acquire_nowait()
        with pytest.raises(RuntimeError, match="holds no token"):
            limiter.release()
        limiter.release_on_behalf_of("a")
        await limiter.acquire()
        limiter.release()
        assert "0 of 1" in repr(limiter)

    run(main)


def test_total_may_change(run: Run) -> None:
    async def main() -> None:
        limiter = pelton.CapacityLimiter(1)
        async with pelton.open_nursery() as nursery:
            for borrower in "abc":
                nursery.start_soon(limiter.acquire_on_behalf_of, borrower)
            await turns()
            assert limiter.borrowed_tokens == 1
            limiter.total_tokens = 2
            assert limiter.borrowed_tokens == 2
            limiter.total_tokens = math.inf
            assert limiter.borrowed_tokens == 3
            limiter.total_tokens = 1
            assert limiter.available_tokens == -2

    run(main)


@pytest.mark.parametrize(("total", "error"), [(0, ValueError), (1.5, TypeError), ("1", TypeError)])
def test_wrong_totals(total: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        pelton.CapacityLimiter(total)


def test_cancelled_waiters_hold_nothing(run: Run) -> None:
    async def main() -> None:
        limiter = pelton.CapacityLimiter(1)
        await limiter.acquire_on_behalf_of("holder")

        async def borrow() -> None:
            async with limiter:
                pytest.fail("acquired")

        first = asyncio.create_task(borrow())
        second = asyncio.create_task(borrow())
        await turns()
        second.cancel()  # before its turn
        limiter.release_on_behalf_of("holder")  # hands the token to the first
        first.cancel()  # in the turn it got the token
        await asyncio.gather(first, second, return_exceptions=True)
        assert limiter.statistics() == pelton.CapacityLimiterStatistics(0, 1, (), 0)
        with pelton.move_on_after(FOREVER):
            async with limiter:
                pass

    run(main)


def test_a_waiter_behind_a_cancelled_one_is_served(run: Run) -> None:
    async def main() -> None:
        limiter = pelton.CapacityLimiter(1)
        await limiter.acquire_on_behalf_of("holder")
        first = asyncio.create_task(limiter.acquire_on_behalf_of("first"))
        await turns()
        first.cancel()
        limiter.release_on_behalf_of("holder")
        await asyncio.wait_for(limiter.acquire_on_behalf_of("second"), 10)

    run(main)
