"""What the tests of several primitives use."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Run(Protocol):
    """What the fixture `run` is."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> T: ...


async def forever() -> None:
    """Waits until it is cancelled."""
    await asyncio.get_running_loop().create_future()


async def value(result: T, turns: int = 0) -> T:
    """Returns something after some turns of the loop."""
    for _ in range(turns):
        await asyncio.sleep(0)
    return result


async def failure(error: BaseException, turns: int = 0) -> None:
    """Raises something after some turns of the loop."""
    for _ in range(turns):
        await asyncio.sleep(0)
    raise error


async def turns(count: int) -> None:
    """Lets the loop run."""
    for _ in range(count):
        await asyncio.sleep(0)


class Awaitable:
    """Awaitable, and neither a coroutine nor a future."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return self.result


def dies_without_collector(make: Callable[[], Any]) -> bool:
    """Whether what `make` returns is freed by its last reference, in no cycle."""
    gc.disable()
    try:
        alive = weakref.ref(make())
        return alive() is None
    finally:
        gc.enable()
