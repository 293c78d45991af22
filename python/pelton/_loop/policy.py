"""Ways to run a program on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from pelton._loop.loop import Loop

T = TypeVar("T")


class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
    """An asyncio policy whose loops are `pelton.Loop`."""

    def _loop_factory(self) -> Loop:
        return Loop()


def new_event_loop() -> Loop:
    """A new loop, not yet set as anyone's current one."""
    return Loop()


def install() -> None:
    """Make `pelton.Loop` what `asyncio.run` and `asyncio.new_event_loop` use in this process."""
    asyncio.set_event_loop_policy(EventLoopPolicy())


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run `main` on a new `pelton.Loop` and return its result, as `asyncio.run` does.

    Raises RuntimeError when a loop runs in this thread already. SIGINT cancels `main`.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("pelton.run() cannot be called from a running event loop: await instead")
    with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)
