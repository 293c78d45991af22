"""The collector may run at any allocation: also while an object is being made."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pelton
from pelton import aio

KINDS = [
    aio.Lock, aio.Event, aio.Condition, aio.Semaphore, aio.BoundedSemaphore, aio.Queue,
    aio.PriorityQueue, aio.LifoQueue, aio.TaskGroup, aio.StreamReader, lambda: aio.Barrier(2),
    lambda: aio.timeout(1),
]  # fmt: skip


@pytest.fixture
def eager_collector() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("eager_collector")
@pytest.mark.parametrize("kind", KINDS)
def test_objects_are_made_while_the_collector_runs(kind: Callable[[], Any]) -> None:
    async def main() -> int:
        made = [kind() for _ in range(300)]
        if isinstance(kind, type):
            inherited = type("Inherited", (kind,), {})
            made += [inherited() for _ in range(300)]
        return len(made)

    assert pelton.run(main()) >= 300
