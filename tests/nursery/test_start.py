"""`Nursery.start`: waiting until a task is ready, and whose it is before and after."""

from __future__ import annotations

import asyncio

import pytest

import pelton
from tests.nursery.conftest import Run
from tests.nursery.test_scope import FOREVER, counts, turns


def test_start_returns_what_started_was_given(run: Run) -> None:
    async def main() -> None:
        async def server(
            port: int, *, task_status: pelton.TaskStatus[int] = pelton.TASK_STATUS_IGNORED
        ) -> None:
            await asyncio.sleep(0)
            task_status.started(port + 1)
            await asyncio.sleep(FOREVER)

        async with pelton.open_nursery() as nursery:
            assert await nursery.start(server, 1) == 2
            nursery.start_soon(server, 1)
            assert len(nursery.child_tasks) == 2
            await turns()
            nursery.cancel_scope.cancel()
        assert nursery.cancel_scope.cancelled_caught

    run(main)


def test_started_may_be_called_once(run: Run) -> None:
    async def main() -> None:
        async def twice(task_status: pelton.TaskStatus[None]) -> None:
            task_status.started()
            with pytest.raises(RuntimeError, match="twice"):
                task_status.started()

        async with pelton.open_nursery() as nursery:
            assert await nursery.start(twice) is None

    run(main)


def test_start_without_started(run: Run) -> None:
    async def main() -> None:
        async def forgets(task_status: pelton.TaskStatus[None]) -> None:
            await asyncio.sleep(0)

        async with pelton.open_nursery() as nursery:
            with pytest.raises(RuntimeError, match=r"without calling task_status\.started"):
                await nursery.start(forgets)
        assert not nursery.cancel_scope.cancel_called

    run(main)


def test_error_before_started_is_raised_bare_by_start(run: Run) -> None:
    async def main() -> None:
        async def fails(task_status: pelton.TaskStatus[None]) -> None:
            await asyncio.sleep(0)
            raise ValueError("mine")

        async def fails_many(task_status: pelton.TaskStatus[None]) -> None:
            raise ExceptionGroup("mine", [ValueError("mine"), KeyError("mine")])

        async with pelton.open_nursery() as nursery:
            with pytest.raises(ValueError, match="mine"):
                await nursery.start(fails)
            with pytest.raises(ExceptionGroup, match="mine"):
                await nursery.start(fails_many)
        assert not nursery.cancel_scope.cancel_called

    run(main)


def test_error_after_started_is_the_nurserys(run: Run) -> None:
    async def main() -> None:
        async def fails(task_status: pelton.TaskStatus[str]) -> None:
            task_status.started("ready")
            raise ValueError("mine")

        with pytest.raises(ExceptionGroup) as raised:
            async with pelton.open_nursery() as nursery:
                assert await nursery.start(fails) == "ready"
                await asyncio.sleep(FOREVER)
        assert isinstance(raised.value.exceptions[0], ValueError)

    run(main)


def test_before_started_the_caller_is_who_cancels(run: Run) -> None:
    async def main() -> None:
        ended = []

        async def slow(task_status: pelton.TaskStatus[None]) -> None:
            try:
                await asyncio.sleep(FOREVER)
            finally:
                ended.append("child")

        async with pelton.open_nursery() as nursery:
            with pelton.move_on_after(0.01) as scope:
                await nursery.start(slow)
            assert ended == ["child"]
            assert scope.cancelled_caught
        assert not nursery.cancel_scope.cancel_called
        assert counts() == 0

    run(main)


def test_before_started_cancelling_the_nursery_waits(run: Run) -> None:
    async def main() -> None:
        steps = []

        async def child(task_status: pelton.TaskStatus[str]) -> None:
            await asyncio.sleep(0.01)
            steps.append("not cancelled yet")
            task_status.started("ready")
            await asyncio.sleep(FOREVER)

        async def caller(nursery: pelton.Nursery) -> None:
            steps.append(await nursery.start(child))

        async with pelton.open_nursery() as outer, pelton.open_nursery() as nursery:
            outer.start_soon(caller, nursery)
            await turns()
            nursery.cancel_scope.cancel()
        assert steps == ["not cancelled yet", "ready"]

    run(main)


def test_started_in_a_cancelled_caller_stays_with_it(run: Run) -> None:
    async def main() -> None:
        async def child(task_status: pelton.TaskStatus[None]) -> None:
            with pelton.shield():
                await asyncio.sleep(0.01)
            task_status.started()
            await asyncio.sleep(FOREVER)

        async with pelton.open_nursery() as nursery:
            with pelton.CancelScope() as scope:
                scope.cancel()
                await nursery.start(child)
            assert scope.cancelled_caught
            assert not nursery.child_tasks

    run(main)


def test_task_cancel_while_starting(run: Run) -> None:
    async def main() -> None:
        async def child(task_status: pelton.TaskStatus[None]) -> None:
            await asyncio.sleep(FOREVER)

        async with pelton.open_nursery() as nursery:
            task = asyncio.create_task(nursery.start(child))
            await turns()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert not nursery.cancel_scope.cancel_called

    run(main)


def test_scopes_and_tasks_opened_before_started_move_too(run: Run) -> None:
    async def main() -> None:
        ended = []

        async def grandchild() -> None:
            try:
                await asyncio.sleep(FOREVER)
            finally:
                ended.append("grandchild")

        async def child(task_status: pelton.TaskStatus[None]) -> None:
            with pelton.CancelScope():
                async with pelton.open_nursery() as own:
                    own.start_soon(grandchild)
                    await asyncio.sleep(0)
                    task_status.started()
                    await asyncio.sleep(FOREVER)

        async with pelton.open_nursery() as nursery:
            with pelton.CancelScope() as scope:
                await nursery.start(child)
            scope.cancel()  # the caller's: the task has left it
            await turns()
            assert not ended
            nursery.cancel_scope.cancel()
        assert ended == ["grandchild"]

    run(main)


def test_the_nursery_stays_open_for_what_starts(run: Run) -> None:
    async def main() -> None:
        steps = []

        async def child(task_status: pelton.TaskStatus[None]) -> None:
            await asyncio.sleep(0.01)
            task_status.started()
            await asyncio.sleep(0)
            steps.append("child")

        async with pelton.open_nursery() as outer:
            async with pelton.open_nursery() as nursery:
                outer.start_soon(nursery.start, child)
                await turns()
            steps.append("closed")
        assert steps == ["child", "closed"]

    run(main)
