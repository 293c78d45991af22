"""Signals: handlers, their order, and that none is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

import pelton


@pytest.fixture(autouse=True)
def clean_signals() -> Iterator[None]:
    """Handlers and wakeup descriptor as they were."""
    used = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)
    handlers = {sig: signal.getsignal(sig) for sig in used}
    yield
    for sig, handler in handlers.items():
        signal.signal(sig, handler)
    signal.set_wakeup_fd(-1)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    pytest.fail("it did not happen")


def send(sig: int) -> None:
    os.kill(os.getpid(), sig)


def test_handlers_run_in_the_order_of_the_signals(loop: asyncio.AbstractEventLoop) -> None:
    got: list[object] = []
    loop.add_signal_handler(signal.SIGUSR1, got.append, "one")
    loop.add_signal_handler(signal.SIGUSR2, got.append, "two")

    async def main() -> None:
        send(signal.SIGUSR2)
        send(signal.SIGUSR1)
        got.append("sent")  # handlers run by the loop, not in between
        await until(lambda: len(got) == 3)

    loop.run_until_complete(main())
    assert got == ["sent", "two", "one"]
    assert loop.remove_signal_handler(signal.SIGUSR1)
    assert loop.remove_signal_handler(signal.SIGUSR2)
    assert not loop.remove_signal_handler(signal.SIGUSR2)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_signal_before_the_first_wait_is_not_lost(loop: asyncio.AbstractEventLoop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    send(signal.SIGUSR1)
    guard = loop.call_later(20, pytest.fail, "the signal was lost")
    loop.run_forever()
    guard.cancel()


def test_signal_between_two_runs_is_not_lost(loop: asyncio.AbstractEventLoop) -> None:
    got: list[int] = []

    async def main() -> None:
        loop.add_signal_handler(signal.SIGUSR1, got.append, 1)

    loop.run_until_complete(main())
    send(signal.SIGUSR1)
    loop.run_until_complete(until(lambda: got))
    assert got == [1]


def test_another_loops_handlers_stay_its_own(loop: asyncio.AbstractEventLoop) -> None:
    got: list[int] = []
    loop.add_signal_handler(signal.SIGUSR1, got.append, 1)
    other = pelton.new_event_loop()
    try:
        other.call_soon(send, signal.SIGUSR1)
        other.run_until_complete(asyncio.sleep(0.01))
    finally:
        other.close()
    assert not got
    loop.run_until_complete(asyncio.sleep(0.01))
    assert got == [1]


def test_signal_wakes_a_waiting_loop(loop: asyncio.AbstractEventLoop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    thread = threading.Timer(0.05, send, [signal.SIGUSR1])
    thread.start()
    loop.run_forever()
    thread.join()


def test_plain_handler_runs_after_ours_were_removed(our_loop: pelton.Loop) -> None:
    got: list[int] = []
    signal.signal(signal.SIGUSR2, lambda number, _: got.append(number))

    async def main() -> None:
        our_loop.add_signal_handler(signal.SIGUSR1, print)
        our_loop.remove_signal_handler(signal.SIGUSR1)
        assert signal.set_wakeup_fd(-1) != -1  # the wait still depends on it
        send(signal.SIGUSR2)
        assert got

    our_loop.run_until_complete(main())


def test_wakeup_descriptor_is_given_back(our_loop: pelton.Loop) -> None:
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        signal.set_wakeup_fd(left.fileno())
        our_loop.run_until_complete(asyncio.sleep(0))
        assert signal.set_wakeup_fd(-1) == left.fileno()
        our_loop.run_until_complete(asyncio.sleep(0))
        assert signal.set_wakeup_fd(-1) == -1


def test_interrupt_leaves_run_forever(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(send, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert not loop.is_running()
    loop.run_until_complete(asyncio.sleep(0))


def test_what_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def coroutine() -> None: ...

    with pytest.raises(TypeError, match="coroutines cannot be used"):
        loop.add_signal_handler(signal.SIGUSR1, coroutine)
    with pytest.raises(RuntimeError, match="cannot be caught"):
        loop.add_signal_handler(signal.SIGKILL, print)
    with pytest.raises(ValueError, match="invalid signal number"):
        loop.add_signal_handler(9999, print)
    with pytest.raises(TypeError, match="sig must be an int"):
        loop.add_signal_handler("USR1", print)  # type: ignore[arg-type]


def test_only_in_the_main_thread(loop: asyncio.AbstractEventLoop) -> None:
    failures: list[BaseException] = []

    def add() -> None:
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except RuntimeError as error:
            failures.append(error)

    thread = threading.Thread(target=add)
    thread.start()
    thread.join()
    assert "main thread" in str(failures[0])


def test_child_handlers_are_allowed(loop: asyncio.AbstractEventLoop) -> None:
    got: list[int] = []

    async def main() -> None:
        loop.add_signal_handler(signal.SIGCHLD, got.append, 1)
        process = await asyncio.create_subprocess_exec("true")
        assert await process.wait() == 0
        await until(lambda: got)
        loop.remove_signal_handler(signal.SIGCHLD)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
