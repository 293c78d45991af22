"""What the methods return is a coroutine to everybody, though no `async def` made it."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import sys
import types
import weakref
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest

from pelton import aio

Run = Callable[[Coroutine[Any, Any, Any]], Any]

MAKERS: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
    "Queue.put": lambda: aio.Queue[int]().put(1),
    "Queue.get": lambda: aio.Queue[int]().get(),
    "Queue.join": lambda: aio.Queue[int]().join(),
    "Lock.acquire": lambda: aio.Lock().acquire(),
    "Event.wait": lambda: aio.Event().wait(),
    "Semaphore.acquire": lambda: aio.Semaphore().acquire(),
    "Condition.wait": lambda: aio.Condition().wait(),
    "Condition.wait_for": lambda: aio.Condition().wait_for(bool),
    "Barrier.wait": lambda: aio.Barrier(2).wait(),
    "sleep": lambda: aio.sleep(1),
}


@pytest.fixture(params=MAKERS)
def made(request: pytest.FixtureRequest) -> Coroutine[Any, Any, Any]:
    """One of each kind."""
    return MAKERS[request.param]()


def test_it_is_a_coroutine(made: Any) -> None:
    assert isinstance(made, collections.abc.Coroutine)
    assert asyncio.iscoroutine(made)
    assert made.__qualname__.endswith(made.__name__)
    assert made.__qualname__ in repr(made)
    made.close()


def test_it_warns_if_it_was_never_awaited(made: Any) -> None:
    name = made.__qualname__
    with pytest.warns(RuntimeWarning, match=f"coroutine '{name}' was never awaited"):
        MAKERS[name]()  # one like it, dropped at once
    made.close()


def test_it_runs_once(made: Any) -> None:
    made.close()
    made.close()
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        made.send(None)


def test_a_value_cannot_be_sent_before_it_started(made: Any) -> None:
    with pytest.raises(TypeError, match="can't send non-None value to a just-started coroutine"):
        made.send(1)
    made.close()


def test_an_exception_thrown_before_it_started_comes_back(made: Any) -> None:
    with pytest.raises(KeyError, match="'key'"):
        made.throw(KeyError("key"))
    with pytest.raises(RuntimeError, match="cannot reuse"):
        made.send(None)


def test_only_exceptions_can_be_thrown(made: Any) -> None:
    with pytest.raises(TypeError, match="must be classes or instances deriving"):
        made.throw(1)
    made.close()


def test_nothing_happens_before_it_is_awaited(run: Run) -> None:
    async def main() -> None:
        queue = aio.Queue[int]()
        putting = queue.put(1)
        assert queue.empty()
        await putting
        assert queue.get_nowait() == 1
        lock = aio.Lock()
        acquiring = lock.acquire()
        assert not lock.locked()
        assert await acquiring is True
        assert lock.locked()

    run(main())


def test_tasks_take_it(run: Run) -> None:
    async def main() -> None:
        queue = aio.Queue[int]()
        task = asyncio.create_task(queue.get(), name="getter")
        assert "Queue.get" in repr(task)
        await asyncio.sleep(0)
        assert task.get_coro().cr_await is queue._getters[0]  # type: ignore[union-attr]
        await queue.put(3)
        assert await asyncio.wait_for(task, 10) == 3
        assert await asyncio.gather(queue.put(4), queue.get()) == [None, 4]

    run(main())


def test_generators_delegate_to_it(run: Run) -> None:
    @types.coroutine
    def old_style(queue: aio.Queue[int]) -> Generator[Any, Any, int]:
        return (yield from queue.get())  # type: ignore[misc]

    async def main() -> None:
        queue = aio.Queue[int]()
        task = asyncio.ensure_future(old_style(queue))
        await asyncio.sleep(0)
        queue.put_nowait(1)
        assert await task == 1

    run(main())


def test_a_tuple_or_an_exception_is_a_result_like_any(run: Run) -> None:
    async def main() -> None:
        queue = aio.Queue[Any]()
        for item in ((1, 2), ValueError("an item"), StopIteration(3), None):
            await queue.put(item)
            assert await queue.get() is item
            task = asyncio.create_task(queue.get())
            await asyncio.sleep(0)
            queue.put_nowait(item)
            if not isinstance(item, StopIteration):  # no task can return that
                assert await task is item
            else:
                await asyncio.wait([task])
                assert task.result() is item

    run(main())


def test_collecting_it_while_it_waits_ends_the_wait(run: Run) -> None:
    async def main() -> None:
        queue = aio.Queue[int]()
        getting = queue.get()
        getting.send(None)
        assert len(queue._getters) == 1
        (getter,) = queue._getters
        del getting
        gc.collect()
        assert not queue._getters
        assert getter.cancelled()

    run(main())


def test_cycles_through_a_wait_are_collected(run: Run) -> None:
    async def main() -> weakref.ref[aio.Queue[Any]]:
        queue = aio.Queue[Any]()
        getting = queue.get()
        getting.send(None)
        queue.put_nowait(None)
        queue._getters.clear()
        queue._queue.append(getting)
        queue._queue.append(queue)
        return weakref.ref(queue)

    gone = run(main())
    gc.collect()
    assert gone() is None


def test_nothing_is_left_behind(run: Run) -> None:
    async def main() -> None:
        queue, lock, event = aio.Queue[object](1), aio.Lock(), aio.Event()
        event.set()
        item = object()
        for _ in range(100):
            before = sys.getrefcount(item), sys.getrefcount(queue), sys.getrefcount(lock)
            await queue.put(item)
            cancelled = asyncio.create_task(queue.put(item))
            await asyncio.sleep(0)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            del cancelled
            await queue.get()
            async with lock:
                await event.wait()
            after = sys.getrefcount(item), sys.getrefcount(queue), sys.getrefcount(lock)
            assert after == before

    run(main())
