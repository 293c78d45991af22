"""`run_in_executor` with the default executor."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import os
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest

import pelton

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")
LIMIT = 20


def fail(error: BaseException) -> None:
    raise error


def test_arguments_and_results(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        for count in range(6):
            got = await loop.run_in_executor(None, lambda *args: args, *range(count))
            assert got == tuple(range(count))
        assert isinstance(loop.run_in_executor(None, int), asyncio.Future)

    loop.run_until_complete(main())


def test_threads_have_asyncios_names_and_are_used_again(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        threads = {await loop.run_in_executor(None, threading.current_thread) for _ in range(50)}
        assert {thread.name for thread in threads} <= {"asyncio_0", "asyncio_1"}
        assert threading.current_thread() not in threads

    loop.run_until_complete(main())


def test_calls_run_beside_each_other(loop: asyncio.AbstractEventLoop) -> None:
    barrier = threading.Barrier(4)

    async def main() -> None:
        calls = [loop.run_in_executor(None, barrier.wait, LIMIT) for _ in range(4)]
        assert sorted(await asyncio.gather(*calls)) == [0, 1, 2, 3]

    loop.run_until_complete(main())


@pytest.mark.parametrize("kind", [ValueError, KeyError, SystemExit, KeyboardInterrupt])
def test_an_error_goes_to_who_awaits(
    loop: asyncio.AbstractEventLoop, kind: type[BaseException]
) -> None:
    async def main() -> None:
        future = loop.run_in_executor(None, fail, kind("text"))
        await asyncio.wait([future])
        error = future.exception()
        assert type(error) is kind
        assert error.args == ("text",)

    loop.run_until_complete(main())


def test_cancelled_error_of_concurrent_futures_becomes_asyncios(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await loop.run_in_executor(None, fail, concurrent.futures.CancelledError())

    loop.run_until_complete(main())


def test_stop_iteration_does_not_hang(our_loop: pelton.Loop) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="StopIteration") as caught:
            await our_loop.run_in_executor(None, fail, StopIteration(1))
        assert isinstance(caught.value.__cause__, StopIteration)

    our_loop.run_until_complete(main())


def test_context_is_the_threads_own_but_to_thread_brings_it(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        var.set("task")
        assert await loop.run_in_executor(None, var.get) == "unset"
        assert await asyncio.to_thread(var.get) == "task"

    loop.run_until_complete(main())


def occupy(loop: asyncio.AbstractEventLoop) -> tuple[threading.Event, list[asyncio.Future[bool]]]:
    """All threads of the default executor are taken until the event is set."""
    begun, release = threading.Semaphore(0), threading.Event()
    count = min(32, (os.cpu_count() or 1) + 4)

    def work() -> bool:
        begun.release()
        return release.wait(LIMIT)

    calls = [loop.run_in_executor(None, work) for _ in range(count)]
    for _ in calls:
        assert begun.acquire(timeout=LIMIT)
    return release, calls


def test_a_call_cancelled_in_the_queue_does_not_run(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[int] = []

    async def main() -> None:
        release, others = occupy(loop)
        waiting = loop.run_in_executor(None, ran.append, 1)
        await asyncio.sleep(0)
        assert waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0)  # asyncio tells the other future in the next turn
        release.set()
        assert all(await asyncio.gather(*others))
        await loop.run_in_executor(None, ran.append, 2)

    loop.run_until_complete(main())
    assert ran == [2]


def test_what_a_cancelled_call_returns_is_dropped(loop: asyncio.AbstractEventLoop) -> None:
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    begun, release = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait(LIMIT)
        raise ValueError

    async def main() -> None:
        future = loop.run_in_executor(None, work)
        assert begun.wait(LIMIT)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        release.set()
        await loop.run_in_executor(None, int)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    assert contexts == []


def test_shutdown_waits_and_then_refuses(loop: asyncio.AbstractEventLoop) -> None:
    done: list[int] = []
    release = threading.Event()

    def work() -> None:
        release.wait(LIMIT)
        done.append(1)

    async def main() -> None:
        threads = {await loop.run_in_executor(None, threading.current_thread)}
        call = loop.run_in_executor(None, work)
        loop.call_soon(release.set)
        await loop.shutdown_default_executor()
        assert done == [1]
        assert not any(thread.is_alive() for thread in threads)
        await call
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            await loop.run_in_executor(None, int)

    loop.run_until_complete(main())


@pytest.mark.skipif(
    sys.version_info < (3, 13),
    reason="the timeout came with 3.12, whose first releases wait all the same",
)
def test_shutdown_gives_up_after_its_timeout(loop: asyncio.AbstractEventLoop) -> None:
    release = threading.Event()

    async def main() -> None:
        call = loop.run_in_executor(None, release.wait, LIMIT)
        with pytest.warns(RuntimeWarning, match="within 0.01 seconds"):
            await loop.shutdown_default_executor(0.01)  # type: ignore[call-arg]
        release.set()
        assert await call

    loop.run_until_complete(main())


def test_a_set_executor_is_used(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> str:
        await loop.run_in_executor(None, int)
        loop.set_default_executor(
            concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine")
        )
        return (await loop.run_in_executor(None, threading.current_thread)).name

    assert loop.run_until_complete(main()) == "mine_0"
    with pytest.raises(TypeError, match="ThreadPoolExecutor"):
        loop.set_default_executor(print)  # type: ignore[arg-type]


def test_the_default_executor_is_a_thread_pool_executor(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        await loop.run_in_executor(None, int)
        executor: Any = vars(loop)["_default_executor"]
        assert isinstance(executor, concurrent.futures.ThreadPoolExecutor)
        assert await asyncio.wrap_future(executor.submit(int, "7", base=8)) == 7
        assert list(executor.map(abs, [-1, -2])) == [1, 2]
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result(LIMIT)
        release, others = occupy(loop)
        waiting = executor.submit(int)
        ours = loop.run_in_executor(None, int)
        executor.shutdown(wait=False, cancel_futures=True)
        assert waiting.cancelled()
        release.set()
        await asyncio.gather(*others)
        with pytest.raises(asyncio.CancelledError):
            await ours
        with pytest.raises(RuntimeError, match="after shutdown"):
            await loop.run_in_executor(None, int)

    loop.run_until_complete(main())


def test_debug_mode_names_the_callback(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)

    async def coroutine() -> None:
        pass

    async def main() -> None:
        assert await loop.run_in_executor(None, int) == 0
        with pytest.raises(TypeError, match="run_in_executor"):
            _ = await loop.run_in_executor(None, coroutine)

    loop.run_until_complete(main())


def test_a_closed_loop_refuses_and_ends_its_threads() -> None:
    loop = pelton.new_event_loop()

    async def main() -> threading.Thread:
        return await loop.run_in_executor(None, threading.current_thread)

    thread = loop.run_until_complete(main())
    loop.close()
    thread.join(LIMIT)
    assert not thread.is_alive()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        _ = loop.run_in_executor(None, int).done()


def test_a_call_that_outlives_its_loop_is_no_error() -> None:
    loop = pelton.new_event_loop()
    begun, release = threading.Event(), threading.Event()

    def work() -> threading.Thread:
        begun.set()
        release.wait(LIMIT)
        return threading.current_thread()

    loop.run_in_executor(None, work)
    assert begun.wait(LIMIT)
    threads = [thread for thread in threading.enumerate() if thread.name == "asyncio_0"]
    loop.close()
    alive = weakref.ref(loop)
    del loop
    release.set()
    for thread in threads:
        thread.join(LIMIT)
    gc.collect()
    assert alive() is None


def test_arguments_are_let_go(loop: asyncio.AbstractEventLoop) -> None:
    class Argument:
        pass

    async def main() -> None:
        argument = Argument()
        gone = threading.Event()
        weakref.finalize(argument, gone.set)
        await loop.run_in_executor(None, lambda _: None, argument)
        del argument
        assert gone.wait(LIMIT)  # the thread may hold it a moment longer

    loop.run_until_complete(main())


PROGRAM_THAT_ENDS = """
import asyncio, pelton, time
loop = pelton.new_event_loop()
loop.run_in_executor(None, lambda: (time.sleep(0.05), print("done", flush=True)))
loop.close()
"""
PROGRAM_THAT_FORKS = """
import asyncio, os, pelton, warnings
warnings.simplefilter("ignore")
loop = pelton.new_event_loop()
work = lambda: loop.run_until_complete(loop.run_in_executor(None, os.getpid))
assert work() == os.getpid()
child = os.fork()
if child == 0:
    loop = pelton.new_event_loop()
    os._exit(0 if work() == os.getpid() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert work() == os.getpid()
print("done")
"""


@pytest.mark.parametrize("program", [PROGRAM_THAT_ENDS, PROGRAM_THAT_FORKS])
def test_a_process_that_ends_or_forks(program: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)
