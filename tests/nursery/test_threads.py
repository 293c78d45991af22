"""Calls into threads and back."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time

import pytest

import pelton
from pelton import from_thread, to_thread
from tests.nursery.conftest import Run
from tests.nursery.test_scope import FOREVER, counts, turns


def test_result_error_and_context(run: Run) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    def work(first: int, second: int) -> tuple[int, str, int]:
        seen = variable.get()
        variable.set("thread")
        return first + second, seen, threading.get_ident()

    def fails(error: BaseException) -> None:
        raise error

    async def main() -> None:
        variable.set("task")
        total, seen, thread = await to_thread.run_sync(work, 1, 2)
        assert (total, seen) == (3, "task")
        assert variable.get() == "task"
        assert thread != threading.get_ident()
        for error in (ValueError, KeyboardInterrupt):
            with pytest.raises(error, match="mine"):
                await to_thread.run_sync(fails, error("mine"))
        with pytest.raises(RuntimeError, match="StopIteration"):
            await to_thread.run_sync(fails, StopIteration())

    run(main)


def test_threads_are_used_again(run: Run) -> None:
    async def main() -> None:
        threads = {await to_thread.run_sync(threading.get_ident) for _ in range(20)}
        assert len(threads) == 1

    run(main)


def test_limiters(run: Run) -> None:
    async def main() -> None:
        limiter = pelton.CapacityLimiter(2)
        lock = threading.Lock()
        running = most = 0

        def work() -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.002)
            with lock:
                running -= 1

        async def call() -> None:
            await to_thread.run_sync(work, limiter=limiter)

        async with pelton.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(call)
        assert 1 <= most <= 2
        assert limiter.borrowed_tokens == 0
        assert to_thread.current_default_thread_limiter().total_tokens == 40

    run(main)


@pytest.mark.parametrize("native", [False, True])
def test_cancelled_it_waits_for_the_function(run: Run, native: bool) -> None:
    async def main() -> None:
        go = threading.Event()
        ended = threading.Event()
        scope = pelton.CancelScope()

        def work() -> str:
            go.wait(30)
            ended.set()
            return "result"

        async def call() -> str:
            with scope:
                return await to_thread.run_sync(work)
            return "cancelled"

        task = asyncio.create_task(call())
        await turns()
        if native:
            task.cancel()
        else:
            scope.cancel()
        await turns(20)
        assert not task.done()
        go.set()
        if native:
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            assert await task == "result"
        assert ended.is_set()

    run(main)


def test_abandoned_it_does_not_wait(run: Run) -> None:
    async def main() -> None:
        go = threading.Event()
        limiter = pelton.CapacityLimiter(1)
        with pelton.move_on_after(0.01) as scope:
            await to_thread.run_sync(go.wait, 30, limiter=limiter, abandon_on_cancel=True)
        assert scope.cancelled_caught
        assert limiter.borrowed_tokens == 1
        go.set()
        await limiter.acquire()  # given back when the thread ends
        assert counts() == 0

    run(main)


def test_abandoned_beyond_the_loops_end() -> None:
    go, ended = threading.Event(), threading.Event()

    def work() -> None:
        go.wait(30)
        ended.set()

    async def main() -> None:
        with pelton.move_on_after(0.01):
            await to_thread.run_sync(work, abandon_on_cancel=True)

    pelton.run(main())
    go.set()
    assert ended.wait(30)


def test_a_cancelled_caller_starts_no_thread(run: Run) -> None:
    async def main() -> None:
        called = []
        with pelton.CancelScope() as scope:
            scope.cancel()
            await to_thread.run_sync(called.append, 1)
        assert scope.cancelled_caught
        assert not called

    run(main)


def test_calls_back_into_the_loop(run: Run) -> None:
    async def main() -> None:
        here = threading.get_ident()

        async def add(first: int, second: int) -> int:
            await asyncio.sleep(0)
            assert threading.get_ident() == here
            return first + second

        async def fails() -> None:
            raise ValueError("mine")

        def work() -> int:
            assert from_thread.run_sync(threading.get_ident) == here
            with pytest.raises(ValueError, match="mine"):
                from_thread.run(fails)
            with pytest.raises(ZeroDivisionError):
                from_thread.run_sync(divmod, 1, 0)
            return from_thread.run(add, 1, 2)

        assert await to_thread.run_sync(work) == 3

    run(main)


def test_calls_back_are_cancelled_with_the_caller(run: Run) -> None:
    async def main() -> None:
        def work() -> None:
            from_thread.run(asyncio.sleep, FOREVER)

        with pelton.move_on_after(0.02) as scope:
            await to_thread.run_sync(work)
        assert scope.cancelled_caught
        assert counts() == 0

    run(main)


def test_calls_back_need_a_worker_thread() -> None:
    with pytest.raises(RuntimeError, match=r"to_thread\.run_sync"):
        from_thread.run_sync(len, "abc")
    with pytest.raises(RuntimeError, match=r"to_thread\.run_sync"):
        from_thread.run(asyncio.sleep, 0)
