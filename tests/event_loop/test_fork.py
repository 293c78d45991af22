"""A child made by `fork` leaves its parent's loop alone."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable

import pytest

import pelton


def in_child(work: Callable[[], object]) -> str:
    """What `work` returns or raises in a child."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = repr(work())
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(child, 0)
    return answer


def test_parents_loop_is_refused(our_loop: pelton.Loop) -> None:
    answer = in_child(lambda: our_loop.run_until_complete(asyncio.sleep(0)))
    assert answer.startswith("RuntimeError: this event loop belongs to the process")
    our_loop.run_until_complete(asyncio.sleep(0))


def test_parents_watches_outlive_a_child_that_closes_the_loop(our_loop: pelton.Loop) -> None:
    left, right = socket.socketpair()

    def close_all() -> str:
        with pytest.raises(RuntimeError, match="belongs to the process"):
            our_loop.add_reader(left, print)
        our_loop.remove_reader(right)
        our_loop.call_soon_threadsafe(print)
        our_loop.close()
        gc.collect()
        return "closed"

    with left, right:
        our_loop.add_reader(right, our_loop.stop)
        assert in_child(close_all) == "'closed'"
        guard = our_loop.call_later(20, pytest.fail, "the watch is gone")
        left.send(b"x")
        our_loop.run_forever()
        guard.cancel()
        our_loop.remove_reader(right)


def test_forked_from_a_running_loop(our_loop: pelton.Loop) -> None:
    async def child() -> int:
        await asyncio.sleep(0.001)
        return 42

    def run_another() -> int:
        with asyncio.Runner(loop_factory=pelton.new_event_loop) as runner:
            return runner.run(child())

    async def main() -> None:
        reader, writer = await asyncio.open_connection(sock=left)
        assert in_child(run_another) == "42"
        right.send(b"still here\n")
        async with asyncio.timeout(10):
            assert await reader.readline() == b"still here\n"
        writer.close()
        await writer.wait_closed()

    left, right = socket.socketpair()
    with right:
        our_loop.run_until_complete(main())


def test_child_that_returns_into_the_running_loop(our_loop: pelton.Loop) -> None:
    def run_on() -> str:
        async def main() -> None:
            if child := os.fork():
                os.waitpid(child, 0)  # noqa: ASYNC222 (nothing else is to run)
                return
            await asyncio.sleep(0)
            os.write(writing, b"the child's loop went on")

        reading, writing = os.pipe()
        try:
            with asyncio.Runner(loop_factory=pelton.new_event_loop) as runner:
                runner.run(main())
        except RuntimeError as error:
            os.write(writing, str(error).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            return pipe.read().decode()

    assert "belongs to the process" in in_child(run_on)


def test_childs_signals_are_its_own(our_loop: pelton.Loop) -> None:
    got: list[int] = []
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    our_loop.add_signal_handler(signal.SIGUSR1, got.append, 1)

    def handle() -> list[int]:
        handled: list[int] = []
        signal.signal(signal.SIGUSR1, lambda number, _: handled.append(number))
        os.kill(os.getpid(), signal.SIGUSR1)
        return handled

    assert in_child(handle) == f"[{int(signal.SIGUSR1)}]"
    our_loop.run_until_complete(asyncio.sleep(0.01))
    assert not got
    our_loop.remove_signal_handler(signal.SIGUSR1)


def run_in_process() -> None:
    with asyncio.Runner(loop_factory=pelton.new_event_loop) as runner:
        runner.run(asyncio.sleep(0.001))


def test_multiprocessing_from_a_running_loop(our_loop: pelton.Loop) -> None:
    async def main() -> None:
        process = multiprocessing.get_context("fork").Process(target=run_in_process)
        process.start()
        await our_loop.run_in_executor(None, process.join, 20)
        assert process.exitcode == 0

    our_loop.run_until_complete(main())
    our_loop.run_until_complete(our_loop.shutdown_default_executor())
