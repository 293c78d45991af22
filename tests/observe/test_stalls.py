"""A callback that holds the loop is noticed, with the stack that shows why."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import pelton
from pelton import observe

LIMIT = 0.02
# How long a callback of these tests holds the loop at most, in seconds.
PATIENCE = 20.0


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    before = observe.stall_limit()
    observe.set_stall_limit(LIMIT)
    observe.clear_stalls()
    yield
    observe.set_stall_limit(before)
    observe.clear_stalls()


def hold_until(seen: Callable[[], bool]) -> None:
    """Keep the thread busy in Python."""
    end = time.monotonic() + PATIENCE
    while not seen() and time.monotonic() < end:
        pass


def test_python_code_is_found_while_it_runs() -> None:
    async def culprit() -> None:
        hold_until(lambda: bool(observe.stalls()))

    pelton.run(culprit())
    (stall,) = observe.stalls()
    assert stall.stack[0].name.endswith("culprit")
    assert stall.stack[0].filename == __file__
    assert stall.task is not None
    assert not stall.gil_held
    assert stall.duration >= LIMIT
    assert not stall.ongoing
    assert stall.thread == threading.get_ident()
    assert "culprit" in str(stall)


def test_a_blocking_call_uses_no_processor() -> None:
    async def culprit() -> None:
        noticed = threading.Event()
        watcher = threading.Thread(
            target=lambda: (hold_until(lambda: bool(observe.stalls())), noticed.set())
        )
        watcher.start()
        noticed.wait(PATIENCE)
        watcher.join()

    pelton.run(culprit())
    stall = observe.stalls()[0]
    assert stall.stack[0].name.endswith("culprit")


def test_c_code_that_keeps_the_gil_is_found() -> None:
    libc = ctypes.PyDLL(None)  # its functions are called with the GIL held

    async def culprit() -> None:
        end = time.monotonic() + PATIENCE
        # The signal that asks for the stack ends a sleep of C early.
        while not observe.stalls() and time.monotonic() < end:
            libc.usleep(300_000)

    pelton.run(culprit())
    stall = observe.stalls()[0]
    assert stall.gil_held
    assert stall.stack[-1].name.endswith("culprit")
    assert stall.stack[-1].filename == __file__


def test_short_callbacks_and_waits_are_no_stalls() -> None:
    observe.set_stall_limit(5.0)

    async def quiet() -> None:
        for _ in range(1000):
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)

    pelton.run(quiet())
    assert observe.stalls() == []


def test_a_stack_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    lock = threading.Lock()

    def release_when_seen() -> None:
        for count in (1, 2):
            hold_until(lambda: len(observe.stalls()) == count)  # noqa: B023 - called at once
            lock.release()

    async def culprit() -> None:
        for _ in (1, 2):
            lock.acquire()
            await asyncio.sleep(0)

    lock.acquire()
    watcher = threading.Thread(target=release_when_seen)
    with caplog.at_level(logging.WARNING, logger="pelton.stalls"):
        watcher.start()
        pelton.run(culprit())
        watcher.join()
    assert len(observe.stalls()) == 2
    (record,) = caplog.records
    assert record.getMessage().splitlines()[-1].endswith("culprit")


def test_no_limit_means_no_watch() -> None:
    observe.set_stall_limit(None)
    assert observe.stall_limit() is None

    async def culprit() -> None:
        end = time.monotonic() + 5 * LIMIT
        hold_until(lambda: time.monotonic() > end)

    pelton.run(culprit())
    assert observe.stalls() == []


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.0001, float("nan"), float("inf")])
def test_a_senseless_limit_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"at least 0\.001"):
        observe.set_stall_limit(seconds)


def test_the_environment_sets_the_limit() -> None:
    program = "import pelton.observe; print(pelton.observe.stall_limit())"
    for value, expected in (("0.75", "0.75"), ("0", "None"), ("nonsense", "0.2")):
        result = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PELTON_STALL_LIMIT": value},
            capture_output=True,
            text=True,
            check=True,
        )
        assert result.stdout.strip() == expected


def test_a_fork_meets_no_thread_and_the_watch_goes_on() -> None:
    async def main() -> int:
        child = os.fork()  # 3.12 and later warn when other threads run, and warnings are errors
        if child == 0:
            try:
                observe.clear_stalls()
                fresh = pelton.new_event_loop()
                asyncio._set_running_loop(None)
                fresh.run_until_complete(culprit())
                os._exit(len(observe.stalls()))
            finally:
                os._exit(99)
        _, status = os.waitpid(child, 0)  # noqa: ASYNC222 - the child ends at once
        observe.clear_stalls()
        await asyncio.sleep(0.001)
        await asyncio.create_task(culprit())
        return os.waitstatus_to_exitcode(status)

    async def culprit() -> None:
        hold_until(lambda: bool(observe.stalls()))

    assert pelton.run(main()) == 1
    assert len(observe.stalls()) == 1
