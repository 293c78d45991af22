"""Cancel scopes beside asyncio's own cancellation: Task.cancel, timeouts, task groups."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import pelton
import pelton.aio
from tests.nursery.conftest import Run
from tests.nursery.test_scope import FOREVER, counts, turns


@pytest.fixture(params=[asyncio, pelton.aio], ids=["asyncio", "pelton.aio"])
def lib(request: pytest.FixtureRequest) -> Any:
    """Whose timeouts and groups."""
    return request.param


def test_task_cancel_passes_through(run: Run) -> None:
    async def main() -> None:
        scope = pelton.CancelScope()

        async def victim() -> None:
            with scope:
                await asyncio.sleep(FOREVER)

        task = asyncio.create_task(victim())
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not scope.cancelled_caught

    run(main)


@pytest.mark.parametrize("scope_first", [True, False])
def test_task_cancel_in_the_same_turn_is_not_swallowed(run: Run, scope_first: bool) -> None:
    async def main() -> None:
        scope = pelton.CancelScope()

        async def victim() -> None:
            with scope:
                await asyncio.sleep(FOREVER)
            pytest.fail("Task.cancel was swallowed")

        task = asyncio.create_task(victim())
        await turns()
        if scope_first:
            scope.cancel()
            task.cancel()
        else:
            task.cancel()
            scope.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert task.cancelling() == 1

    run(main)


def test_uncancelled_task_goes_on(run: Run) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        with pelton.CancelScope() as scope:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(0)
            task.uncancel()
            scope.cancel()
            await asyncio.sleep(FOREVER)
        assert scope.cancelled_caught
        assert counts() == 0

    run(main)


def test_asyncio_timeout_around_and_inside(run: Run, lib: Any) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with lib.timeout(0.01):
                with pelton.CancelScope() as scope:
                    await asyncio.sleep(FOREVER)
        assert not scope.cancelled_caught
        with pelton.move_on_after(0.01) as scope:
            async with lib.timeout(FOREVER):
                await asyncio.sleep(FOREVER)
        assert scope.cancelled_caught
        assert counts() == 0
        async with lib.timeout(0.05) as timeout:
            with pelton.move_on_after(0.01):
                await asyncio.sleep(FOREVER)
            await asyncio.sleep(0)
        assert not timeout.expired()
        with pytest.raises(TimeoutError):
            async with lib.timeout(0.02):
                with pelton.move_on_after(0.01):
                    await asyncio.sleep(FOREVER)
                await asyncio.sleep(FOREVER)
        assert counts() == 0

    run(main)


def test_timeout_and_scope_expire_in_one_turn(run: Run, lib: Any) -> None:
    async def main() -> None:
        now = pelton.current_time()
        with pytest.raises(TimeoutError):
            async with lib.timeout_at(now):
                with pelton.move_on_at(now):
                    await asyncio.sleep(FOREVER)
                await asyncio.sleep(FOREVER)
        assert counts() == 0
        with pelton.move_on_at(now) as scope:
            async with lib.timeout_at(now):
                await asyncio.sleep(FOREVER)
        assert scope.cancelled_caught
        assert counts() == 0

    run(main)


def test_taskgroup_inside_and_around(run: Run, lib: Any) -> None:
    async def main() -> None:
        ended = []

        async def child() -> None:
            try:
                await asyncio.sleep(FOREVER)
            finally:
                ended.append("child")

        with pelton.move_on_after(0.01) as scope:
            async with lib.TaskGroup() as group:
                group.create_task(child())
        assert ended == ["child"]
        assert scope.cancelled_caught
        async with lib.TaskGroup() as group:
            with pelton.move_on_after(0.01) as scope:
                await asyncio.sleep(FOREVER)
            assert scope.cancelled_caught
            group.create_task(asyncio.sleep(0))
        assert counts() == 0

    run(main)


def test_wait_for_inside(run: Run, lib: Any) -> None:
    async def main() -> None:
        with pelton.move_on_after(0.01) as scope:
            await lib.wait_for(asyncio.sleep(FOREVER), FOREVER)
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError), pelton.move_on_after(FOREVER):
            await lib.wait_for(asyncio.sleep(FOREVER), 0.01)
        assert counts() == 0

    run(main)
