"""Queues, on both loops. CPython's own tests of them run under tests/conformance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from pelton import aio
from tests.aio.turns import turns, until

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_errors_are_asyncios() -> None:
    with pytest.raises(asyncio.QueueEmpty):
        aio.Queue[int]().get_nowait()
    full = aio.Queue[int](1)
    full.put_nowait(1)
    with pytest.raises(asyncio.QueueFull):
        full.put_nowait(2)
    assert aio.QueueShutDown is getattr(asyncio, "QueueShutDown", aio.QueueShutDown)


def test_who_came_first_gets_first(run: Run) -> None:
    async def main() -> None:
        queue = aio.Queue[int]()
        getters = [asyncio.create_task(queue.get()) for _ in range(4)]
        await turns()
        for number in range(4):
            queue.put_nowait(number)
        assert await asyncio.gather(*getters) == [0, 1, 2, 3]
        full = aio.Queue[int](1)
        putters = [asyncio.create_task(full.put(number)) for number in range(4)]
        assert [await full.get() for _ in range(4)] == [0, 1, 2, 3]
        await asyncio.gather(*putters)

    run(main())


def test_a_getter_that_is_woken_and_cancelled_passes_it_on(run: Run) -> None:
    async def main() -> None:
        queue = aio.Queue[str]()
        first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
        await turns()
        queue.put_nowait("item")
        first.cancel()
        assert await second == "item"
        assert first.cancelled() or (await asyncio.wait([first]) and first.cancelled())

    run(main())


def test_a_putter_that_is_woken_and_cancelled_passes_it_on(run: Run) -> None:
    async def main() -> None:
        queue = aio.Queue[int](1)
        queue.put_nowait(0)
        first, second = asyncio.create_task(queue.put(1)), asyncio.create_task(queue.put(2))
        await turns()
        assert queue.get_nowait() == 0
        first.cancel()
        await second
        assert queue.get_nowait() == 2
        assert not queue._putters

    run(main())


def test_a_cancelled_wait_leaves_the_line(run: Run) -> None:
    async def main() -> None:
        queue = aio.Queue[int]()
        task = asyncio.create_task(queue.get())
        await turns()
        task.cancel("why")
        with pytest.raises(asyncio.CancelledError, match="why"):
            await task
        assert not queue._getters

    run(main())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(aio.Queue, [3, 1, 2]), (aio.PriorityQueue, [1, 2, 3]), (aio.LifoQueue, [2, 1, 3])],
)
def test_order(run: Run, kind: type[aio.Queue[int]], expected: list[int]) -> None:
    async def main() -> None:
        queue = kind()
        for number in (3, 1, 2):
            await queue.put(number)
        assert queue.qsize() == 3
        assert [await queue.get() for _ in range(3)] == expected
        assert queue.empty()

    run(main())


def test_join_waits_for_every_task_done(run: Run) -> None:
    async def main() -> None:
        queue = aio.Queue[int]()
        await queue.join()
        for number in range(3):
            queue.put_nowait(number)
        joining = asyncio.create_task(queue.join())
        for _ in range(3):
            await turns()
            assert not joining.done()
            await queue.get()
            queue.task_done()
        await joining
        with pytest.raises(ValueError, match=r"task_done\(\) called too many times"):
            queue.task_done()

    run(main())


def test_shutdown_lets_what_is_there_be_taken(run: Run) -> None:
    async def main() -> None:
        queue = aio.Queue[int](1)
        queue.put_nowait(1)
        putting = asyncio.create_task(queue.put(2))
        await turns()
        queue.shutdown()
        with pytest.raises(aio.QueueShutDown):
            await putting
        with pytest.raises(aio.QueueShutDown):
            queue.put_nowait(3)
        assert await queue.get() == 1
        with pytest.raises(aio.QueueShutDown):
            await queue.get()
        assert "shutdown" in repr(queue)

    run(main())


def test_immediate_shutdown_counts_everything_as_done(run: Run) -> None:
    async def main() -> None:
        queue = aio.Queue[int]()
        for number in range(3):
            queue.put_nowait(number)
        joining = asyncio.create_task(queue.join())
        await turns()
        queue.shutdown(immediate=True)
        await joining
        with pytest.raises(aio.QueueShutDown):
            queue.get_nowait()
        waiting = aio.Queue[int]()
        getting = asyncio.create_task(waiting.get())
        await turns()
        waiting.shutdown(immediate=True)
        with pytest.raises(aio.QueueShutDown):
            await getting

    run(main())


def test_a_subclass_decides_what_is_kept_and_given(run: Run) -> None:
    class Unique(aio.Queue[int]):
        """Keeps no item twice, and gives the largest."""

        def _init(self, maxsize: int) -> None:
            self._queue: set[int] = set()

        def _put(self, item: int) -> None:
            self._queue.add(item)

        def _get(self) -> int:
            largest = max(self._queue)
            self._queue.remove(largest)
            return largest

    async def main() -> None:
        queue = Unique(2)
        await queue.put(1)
        await queue.put(1)
        await queue.put(2)
        assert queue.full()
        putting = asyncio.create_task(queue.put(0))
        await turns()
        assert not putting.done()
        assert [await queue.get(), await queue.get(), await queue.get()] == [2, 1, 0]
        await putting

    run(main())


def test_a_subclass_may_extend_the_base(run: Run) -> None:
    class Counting(aio.PriorityQueue[int]):
        def __init__(self, name: str, maxsize: int = 0) -> None:
            super().__init__(maxsize)
            self.name = name
            self.puts = 0

        def _put(self, item: int) -> None:
            self.puts += 1
            super()._put(item)

    async def main() -> None:
        queue = Counting("a name", maxsize=5)
        for number in (2, 1):
            queue.put_nowait(number)
        assert (queue.name, queue.puts, queue.maxsize) == ("a name", 2, 5)
        assert await queue.get() == 1

    run(main())


def test_the_queue_of_the_queue_can_be_looked_at_and_changed(run: Run) -> None:
    async def main() -> None:
        queue = aio.Queue[int]()
        for number in range(3):
            queue.put_nowait(number)
        assert list(queue._queue) == [0, 1, 2]
        queue._queue.remove(1)
        queue.put_nowait(3)
        assert [queue.get_nowait() for _ in range(3)] == [0, 2, 3]

    run(main())


def test_maxsize() -> None:
    for unlimited in (0, -1):
        queue = aio.Queue[int](unlimited)
        for number in range(100):
            queue.put_nowait(number)
        assert not queue.full()
        assert queue.maxsize == unlimited
    two = aio.Queue[int](maxsize=1.5)  # type: ignore[arg-type]
    two.put_nowait(1)
    assert not two.full()
    two.put_nowait(2)
    assert two.full()
    with pytest.raises(TypeError, match="maxsize must be a number"):
        aio.Queue("1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'loop'"):
        aio.Queue(loop=None)  # type: ignore[call-arg]


def test_items_come_by_name_as_well() -> None:
    queue = aio.Queue[int]()
    queue.put_nowait(item=1)
    assert queue.get_nowait() == 1
    with pytest.raises(TypeError, match="takes one argument, item; 2 were given"):
        queue.put_nowait(1, 2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes one argument"):
        queue.put_nowait(other=1)  # type: ignore[call-arg]


def test_items_that_cannot_be_compared_leave_the_heap_usable() -> None:
    queue = aio.PriorityQueue[Any]()
    queue.put_nowait(1)
    with pytest.raises(TypeError, match="not supported between instances"):
        queue.put_nowait("text")


def test_texts() -> None:
    queue = aio.Queue[int](3)
    queue.put_nowait(1)
    assert str(queue) == "<Queue maxsize=3 _queue=[1] tasks=1>"
    assert repr(queue) == f"<Queue at {id(queue):#x} maxsize=3 _queue=[1] tasks=1>"


def test_a_queue_belongs_to_one_loop() -> None:
    queue = aio.Queue[int]()

    async def wait() -> None:
        task = asyncio.create_task(queue.get())
        await turns()
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    asyncio.run(wait())
    with pytest.raises(RuntimeError, match="is bound to a different event loop"):
        asyncio.run(wait())


def test_many_producers_and_consumers_lose_nothing(run: Run) -> None:
    async def main() -> None:
        queue = aio.Queue[int](7)
        got: list[int] = []

        async def produce(start: int) -> None:
            for number in range(start, start + 100):
                await queue.put(number)

        async def consume() -> None:
            while True:
                got.append(await queue.get())
                queue.task_done()

        consumers = [asyncio.create_task(consume()) for _ in range(5)]
        await asyncio.gather(*(produce(start) for start in range(0, 1000, 100)))
        await queue.join()
        for consumer in consumers:
            consumer.cancel()
        await until(lambda: all(consumer.cancelled() for consumer in consumers))
        assert sorted(got) == list(range(1000))

    run(main())
