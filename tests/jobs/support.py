"""What the tests of jobs share."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ParamSpec

from pelton.jobs import Jobs, Worker

P = ParamSpec("P")

PATIENCE = 60.0
"""Seconds until a test that waits for something gives up."""


def on_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Makes an async test function one that pytest can call."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Polls until `condition` holds; AssertionError after PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while True:
        holds = condition()
        if isinstance(holds, Awaitable):
            holds = await holds
        if holds:
            return
        assert time.monotonic() < deadline, f"it did not happen: {what}"
        await asyncio.sleep(0.01)


class Place:
    """The broker of this test; None is SQLite's."""

    url: str | None = None


PLACE = Place()


def new_url(tmp_path: Path) -> str:
    """Where this test keeps its jobs: the same each time, and empty at first."""
    return PLACE.url or f"sqlite:///{tmp_path / 'jobs.db'}"


def new_jobs(tmp_path: Path) -> Jobs:
    """A Jobs object on this test's broker."""
    return Jobs(new_url(tmp_path))


@asynccontextmanager
async def working(jobs: Jobs, **options: Any) -> AsyncIterator[Worker]:
    """A worker of `jobs` on this loop; it returns what runs at the end."""
    worker = Worker(jobs, **options)
    async with jobs:
        await worker.start()
        try:
            yield worker
        finally:
            await worker.stop(grace=0.0)
