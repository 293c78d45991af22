"""Threads for blocking code under our server: as AnyIO's, for what users can see."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import anyio.from_thread
import anyio.to_thread
import pytest

from pelton.web import Depends, FastAPI
from pelton.web._plan_threads import run_in_pool
from tests.web.plan_paths import check

current: ContextVar[str] = ContextVar("current", default="unset")
app = FastAPI()


async def sets() -> None:
    current.set("by a dependency")


@app.get("/context", dependencies=[Depends(sets)])
def of_context() -> Any:
    return current.get()


@app.get("/from-thread")
def of_from_thread() -> Any:
    async def name() -> str | None:
        task = asyncio.current_task()
        return None if task is None else type(task).__name__

    anyio.from_thread.check_cancelled()
    return [anyio.from_thread.run(name), anyio.from_thread.run_sync(current.get)]


@app.get("/stop")
def of_stop() -> Any:
    raise StopIteration


@app.get("/identity")
def of_identity() -> Any:
    return threading.current_thread() is threading.main_thread()


@pytest.mark.parametrize("path", ["/context", "/from-thread", "/stop", "/identity"])
def test_of_the_app(path: str) -> None:
    check(app, "GET", path)


def test_as_many_calls_at_a_time_as_the_limiter_allows() -> None:
    async def run(tokens: int) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = tokens
        together = threading.Barrier(tokens)
        waiting = [run_in_pool(lambda: together.wait(20)) for _ in range(tokens * 3)]
        places = await asyncio.gather(*waiting)
        assert sorted(places) == sorted(list(range(tokens)) * 3)

    for tokens in (1, 4):
        asyncio.run(run(tokens))


def test_results_and_errors_come_to_their_callers() -> None:
    def call(number: int) -> int:
        if number % 3 == 0:
            raise ValueError(number)
        return number

    async def run() -> None:
        calls = [run_in_pool(lambda number=number: call(number)) for number in range(200)]  # type: ignore[misc]
        results = await asyncio.gather(*calls, return_exceptions=True)
        for number, result in enumerate(results):
            assert (result == number) != isinstance(result, ValueError)

    asyncio.run(run())


def test_a_cancelled_call_is_dropped_and_an_abandoned_one_ends_quietly() -> None:
    begun, release, calls = threading.Event(), threading.Event(), []

    def blocks() -> None:
        begun.set()
        release.wait(20)

    async def run() -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        first = run_in_pool(blocks)
        second = run_in_pool(lambda: calls.append("never"))
        third = run_in_pool(lambda: calls.append("third"))
        assert await asyncio.to_thread(begun.wait, 20)
        first.cancel()
        second.cancel()
        release.set()
        await third
        assert calls == ["third"]

    asyncio.run(run())
