"""Waiting for other processes: by looking again and again, up to a bound."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import psutil

T = TypeVar("T")
P = ParamSpec("P")

BOUND = 30.0


def until(look: Callable[[], T | None], what: str, bound: float = BOUND) -> T:
    """The first true thing that `look` returns; AssertionError after `bound` seconds."""
    deadline = time.monotonic() + bound
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"waited {bound} s for {what}"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def asynchronous(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs an `async def` test on asyncio's own loop, which the supervisor uses."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run
