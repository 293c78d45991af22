"""Every test here runs on asyncio's own loop, which is the reference, and on Pelton's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

import pelton

FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "pelton": pelton.new_event_loop,
}


@pytest.fixture(params=FACTORIES)
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    """A new loop, closed after the test."""
    loop = FACTORIES[request.param]()
    try:
        yield loop
    finally:
        if not loop.is_closed():
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


@pytest.fixture
def our_loop() -> Iterator[pelton.Loop]:
    """A new loop of ours, for what asyncio's does otherwise."""
    loop = pelton.new_event_loop()
    try:
        yield loop
    finally:
        loop.close()
