"""Every test here runs on asyncio's own loop and on Pelton's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

import pelton

T = TypeVar("T")

FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "pelton": pelton.new_event_loop,
}


@pytest.fixture(params=FACTORIES)
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """Runs a coroutine to its end, on a new loop that is closed after the test."""
    with asyncio.Runner(loop_factory=FACTORIES[request.param]) as runner:
        yield runner.run
