"""Waiting for what tasks do, by turns of the loop and never by the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TURNS_MAX = 100


async def turns(count: int = 5) -> None:
    """Let everything that is ready run, this many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(true: Callable[[], object]) -> None:
    """Give way until `true()`; fail if it does not come to be."""
    for _ in range(TURNS_MAX):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come to be")
