"""Locks, events, conditions, semaphores and barriers, on both loops.

CPython's own tests of them run under tests/conformance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pelton import aio
from tests.aio.turns import turns

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_a_lock_goes_to_who_came_first(run: Run) -> None:
    async def main() -> None:
        lock, order = aio.Lock(), []

        async def worker(number: int) -> None:
            async with lock:
                order.append(number)
                await turns(2)

        await asyncio.gather(*(worker(number) for number in range(5)))
        assert order == [0, 1, 2, 3, 4]
        assert not lock.locked()

    run(main())


def test_a_lock_given_to_a_cancelled_task_goes_to_the_next(run: Run) -> None:
    async def main() -> None:
        lock = aio.Lock()
        await lock.acquire()
        first, second = asyncio.create_task(lock.acquire()), asyncio.create_task(lock.acquire())
        await turns()
        lock.release()
        first.cancel()
        assert await second is True
        assert first.cancelled()
        assert lock.locked()

    run(main())


def test_nobody_overtakes_a_waiter(run: Run) -> None:
    async def main() -> None:
        lock = aio.Lock()
        await lock.acquire()
        waiter = asyncio.create_task(lock.acquire())
        await turns()
        lock.release()
        late = asyncio.create_task(lock.acquire())
        await waiter
        await turns()
        assert not late.done()
        lock.release()
        await late

    run(main())


def test_releasing_what_nobody_has() -> None:
    with pytest.raises(RuntimeError, match=r"Lock is not acquired\."):
        aio.Lock().release()


def test_async_with_calls_what_a_subclass_overrides(run: Run) -> None:
    calls = []

    class Told(aio.Lock):
        async def acquire(self) -> Any:
            calls.append("acquire")
            return await super().acquire()

        def release(self) -> None:
            calls.append("release")
            super().release()

    async def main() -> None:
        async with Told() as nothing:
            assert nothing is None
        assert calls == ["acquire", "release"]

    run(main())


def test_the_body_of_async_with_may_raise(run: Run) -> None:
    async def main() -> None:
        for manager in (aio.Lock(), aio.Semaphore(), aio.Condition()):
            with pytest.raises(KeyError):
                async with manager:
                    raise KeyError
            assert not manager.locked()

    run(main())


def test_an_event_wakes_everybody(run: Run) -> None:
    async def main() -> None:
        event = aio.Event()
        waiters = [asyncio.create_task(event.wait()) for _ in range(5)]
        await turns()
        assert repr(event).endswith("[unset, waiters:5]>")
        event.set()
        event.clear()
        assert await asyncio.gather(*waiters) == [True] * 5
        event.set()
        assert event.is_set()
        assert await event.wait() is True

    run(main())


def test_a_condition_with_a_lock_of_its_own_or_another(run: Run) -> None:
    async def main() -> None:
        locks: list[Any] = [None, aio.Lock(), asyncio.Lock()]
        for lock in locks:
            condition = aio.Condition(lock)
            ready = False

            async def wait(condition: aio.Condition = condition) -> bool:
                async with condition:
                    return await condition.wait_for(lambda: ready)  # noqa: B023

            tasks = [asyncio.create_task(wait()) for _ in range(3)]
            await turns()
            async with condition:
                condition.notify_all()  # nothing is ready: all wait on
            await turns()
            assert not any(task.done() for task in tasks)
            async with condition:
                ready = True
                condition.notify(1)
                condition.notify(2)
            assert await asyncio.gather(*tasks) == [True] * 3
            assert not condition.locked()

    run(main())


def test_a_condition_says_what_it_needs_the_lock_for(run: Run) -> None:
    async def main() -> None:
        condition = aio.Condition()
        with pytest.raises(RuntimeError, match="cannot wait on un-acquired lock"):
            await condition.wait()
        with pytest.raises(RuntimeError, match="cannot notify on un-acquired lock"):
            condition.notify()

    run(main())


def test_a_cancelled_wait_has_the_lock_again_and_tells_the_next(run: Run) -> None:
    async def main() -> None:
        condition, had = aio.Condition(), []

        async def wait(name: str) -> None:
            async with condition:
                try:
                    await condition.wait()
                finally:
                    had.append((name, condition.locked()))

        first, second = asyncio.create_task(wait("first")), asyncio.create_task(wait("second"))
        await turns()
        async with condition:
            condition.notify(1)
        first.cancel()
        await second
        assert first.cancelled()
        assert had == [("first", True), ("second", True)]

    run(main())


def test_a_wait_cancelled_while_it_takes_the_lock_takes_it(run: Run) -> None:
    async def main() -> None:
        condition = aio.Condition()

        async def wait() -> None:
            async with condition:
                await condition.wait()

        waiter = asyncio.create_task(wait())
        await turns()
        async with condition:
            condition.notify()
            await turns()
            waiter.cancel("now")
            await turns()
            assert not waiter.done()
        with pytest.raises(asyncio.CancelledError, match="now"):
            await waiter
        assert not condition.locked()

    run(main())


def test_a_semaphore_counts(run: Run) -> None:
    async def main() -> None:
        semaphore = aio.Semaphore(2)
        busy = most = 0

        async def worker() -> None:
            nonlocal busy, most
            async with semaphore:
                busy += 1
                most = max(most, busy)
                await turns(3)
                busy -= 1

        await asyncio.gather(*(worker() for _ in range(7)))
        assert most == 2
        assert repr(semaphore).endswith("[unlocked, value:2]>")

    run(main())


def test_a_permit_given_to_a_cancelled_task_goes_to_the_next(run: Run) -> None:
    async def main() -> None:
        semaphore = aio.Semaphore(0)
        first, second = (asyncio.create_task(semaphore.acquire()) for _ in range(2))
        await turns()
        semaphore.release()
        first.cancel()
        assert await second is True
        assert semaphore.locked()

    run(main())


def test_semaphores_refuse_what_makes_no_sense(run: Run) -> None:
    with pytest.raises(ValueError, match="Semaphore initial value must be >= 0"):
        aio.Semaphore(-1)
    with pytest.raises(TypeError, match="must be an int"):
        aio.Semaphore(1.5)
    bounded = aio.BoundedSemaphore(1)
    with pytest.raises(ValueError, match="BoundedSemaphore released too many times"):
        bounded.release()

    async def main() -> None:
        unlimited = aio.BoundedSemaphore(float("inf"))
        for _ in range(100):
            await unlimited.acquire()
        assert not unlimited.locked()

    run(main())


def test_a_barrier_lets_all_go_and_is_used_again(run: Run) -> None:
    async def main() -> None:
        barrier = aio.Barrier(3)
        for _ in range(2):
            assert sorted(await asyncio.gather(*(barrier.wait() for _ in range(3)))) == [0, 1, 2]
        assert (barrier.n_waiting, barrier.broken, barrier.parties) == (0, False, 3)

        async def enter() -> int:
            async with barrier as index:
                return index

        assert sorted(await asyncio.gather(*(enter() for _ in range(3)))) == [0, 1, 2]

    run(main())


def test_a_broken_barrier_is_asyncios_error(run: Run) -> None:
    async def main() -> None:
        barrier = aio.Barrier(2)
        waiter = asyncio.create_task(barrier.wait())
        await turns()
        assert barrier.n_waiting == 1
        await barrier.abort()
        with pytest.raises(asyncio.BrokenBarrierError):
            await waiter
        with pytest.raises(asyncio.BrokenBarrierError):
            await barrier.wait()
        await barrier.reset()
        assert not barrier.broken
        assert sorted(await asyncio.gather(barrier.wait(), barrier.wait())) == [0, 1]
        with pytest.raises(ValueError, match="parties must be > 0"):
            aio.Barrier(0)

    run(main())


def test_a_cancelled_task_leaves_the_barrier(run: Run) -> None:
    async def main() -> None:
        barrier = aio.Barrier(2)
        waiter = asyncio.create_task(barrier.wait())
        await turns()
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert barrier.n_waiting == 0
        assert sorted(await asyncio.gather(barrier.wait(), barrier.wait())) == [0, 1]

    run(main())
