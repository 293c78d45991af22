"""Threads that no process waits for."""

from __future__ import annotations

import threading

import pytest

from pelton.server.daemons import DaemonExecutor

LIMIT = 30.0


def test_calls_and_their_errors() -> None:
    with DaemonExecutor(2, "test") as executor:
        assert executor.submit(divmod, 7, 2).result(LIMIT) == (3, 1)
        assert executor.submit(int, "11", base=2).result(LIMIT) == 3
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result(LIMIT)
        assert list(executor.map(str, range(50))) == [str(number) for number in range(50)]


def test_so_many_at_once_and_no_more() -> None:
    executor = DaemonExecutor(2, "test")
    gate, begun = threading.Event(), threading.Semaphore(0)

    def call() -> str:
        begun.release()
        assert gate.wait(LIMIT)
        assert threading.current_thread().daemon
        return threading.current_thread().name

    futures = [executor.submit(call) for _ in range(4)]
    assert begun.acquire(timeout=LIMIT)
    assert begun.acquire(timeout=LIMIT)
    assert not begun.acquire(timeout=0)
    gate.set()
    assert {future.result(LIMIT) for future in futures} <= {"test-1", "test-2"}
    executor.shutdown()


def test_a_thread_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with DaemonExecutor(1, "test") as executor:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start"):
                executor.submit(print)
        assert executor.submit(divmod, 7, 2).result(LIMIT) == (3, 1)


def test_after_the_end_nothing_begins() -> None:
    executor = DaemonExecutor(1, "test")
    gate = threading.Event()
    under_way = executor.submit(gate.wait, LIMIT)
    waiting = executor.submit(gate.wait, LIMIT)
    while not under_way.running():
        pass
    executor.shutdown(cancel_futures=True)
    assert waiting.cancelled()
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(print)
    gate.set()
    assert under_way.result(LIMIT)
