"""The pool of threads."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pelton.jobs import threads
from pelton.jobs.threads import ThreadPool, ThreadWork
from tests.jobs.support import on_loop, until


def submit(pool: ThreadPool, run: Callable[[], Any], then: Callable[[Any], None]) -> ThreadWork:
    return pool.submit(run, then, None, contextvars.copy_context())


@on_loop
async def test_no_more_threads_than_its_size() -> None:
    pool = ThreadPool(asyncio.get_running_loop(), 3)
    names: set[int] = set()
    done: list[int] = []

    def work() -> int:
        names.add(threading.get_ident())
        return 1

    for _ in range(200):
        submit(pool, work, done.append)
    await until(lambda: len(done) == 200, "all is done")
    assert len(names) <= 3
    pool.close()


@on_loop
async def test_given_up_work_does_not_hold_the_pool() -> None:
    pool = ThreadPool(asyncio.get_running_loop(), 1)
    gate, done = threading.Event(), []
    stuck = submit(pool, lambda: gate.wait(20), lambda _: done.append("stuck"))
    behind = submit(pool, lambda: None, lambda _: done.append("behind"))
    await until(lambda: stuck.begun, "it runs")
    assert not behind.begun
    pool.drop(stuck)
    await until(lambda: done == ["behind"], "the next runs in another thread")
    never = submit(pool, lambda: None, lambda _: done.append("never"))
    pool.drop(never)
    gate.set()
    submit(pool, lambda: None, lambda _: done.append("last"))
    await until(lambda: done == ["behind", "last"], "the pool goes on")
    assert not never.begun
    pool.close()


@on_loop
async def test_given_up_threads_have_a_limit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threads, "ABANDONED_MAX", 1)
    pool = ThreadPool(asyncio.get_running_loop(), 1)
    gate, done = threading.Event(), []
    for _ in range(2):
        stuck = submit(pool, lambda: gate.wait(20), done.append)
        await until(lambda stuck=stuck: stuck.begun, "it runs")  # type: ignore[misc]
        pool.drop(stuck)
    assert "no more are replaced" in caplog.text
    last = submit(pool, lambda: 1, done.append)
    assert not last.begun
    gate.set()
    await until(lambda: done == [1], "it runs once a thread is free")
    pool.close()
