"""Nurseries: who waits for whom, what is raised, how tasks start and move."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import sys
import weakref
from typing import Any

import pytest

import pelton
from tests.nursery.conftest import FACTORIES, Run
from tests.nursery.test_scope import FOREVER, counts, turns


def test_the_block_waits_for_its_tasks(run: Run) -> None:
    async def main() -> None:
        ended = []

        async def child(number: int) -> None:
            await asyncio.sleep(0.001 * number)
            ended.append(number)

        async with pelton.open_nursery() as nursery:
            for number in (3, 1, 2):
                nursery.start_soon(child, number)
            assert len(nursery.child_tasks) == 3
            assert nursery.parent_task is asyncio.current_task()
        assert sorted(ended) == [1, 2, 3]
        assert not nursery.child_tasks

    run(main)


def test_an_empty_nursery_lets_others_run_but_is_not_cancelled(run: Run) -> None:
    async def main() -> None:
        ran = []
        asyncio.get_running_loop().call_soon(ran.append, 1)
        with pelton.CancelScope() as scope:
            scope.cancel()
            async with pelton.open_nursery():
                pass
        assert ran == [1]
        assert not scope.cancelled_caught
        assert counts() == 0

    run(main)


def test_one_error_cancels_the_rest_and_is_grouped(run: Run) -> None:
    async def main() -> None:
        cancelled = []

        async def waits() -> None:
            try:
                await asyncio.sleep(FOREVER)
            except asyncio.CancelledError:
                cancelled.append(1)
                raise

        async def fails() -> None:
            raise ValueError("mine")

        with pytest.raises(ExceptionGroup) as raised:
            async with pelton.open_nursery() as nursery:
                nursery.start_soon(waits)
                nursery.start_soon(waits)
                nursery.start_soon(fails)
                await asyncio.sleep(FOREVER)
        assert [repr(error) for error in raised.value.exceptions] == ["ValueError('mine')"]
        assert cancelled == [1, 1]
        assert nursery.cancel_scope.cancel_called
        assert counts() == 0

    run(main)


def test_errors_of_block_and_tasks_are_collected(run: Run) -> None:
    async def main() -> None:
        async def fails(error: Exception) -> None:
            raise error

        with pytest.raises(ExceptionGroup) as raised:
            async with pelton.open_nursery() as nursery:
                nursery.start_soon(fails, KeyError("a"))
                nursery.start_soon(fails, OSError("b"))
                raise ValueError("c")
        assert {type(error) for error in raised.value.exceptions} == {KeyError, OSError, ValueError}

    run(main)


def test_error_while_cleaning_up_joins_the_group(run: Run) -> None:
    async def main() -> None:
        async def worse() -> None:
            try:
                await asyncio.sleep(FOREVER)
            finally:
                raise KeyError("second")

        with pytest.raises(ExceptionGroup) as raised:
            async with pelton.open_nursery() as nursery:
                nursery.start_soon(worse)
                await asyncio.sleep(0)
                raise ValueError("first")
        assert {type(error) for error in raised.value.exceptions} == {KeyError, ValueError}

    run(main)


def test_base_exceptions_make_a_base_group(run: Run) -> None:
    class Mine(BaseException):
        pass

    async def main() -> None:
        async def fails() -> None:
            raise Mine

        with pytest.raises(BaseExceptionGroup) as raised:
            async with pelton.open_nursery() as nursery:
                nursery.start_soon(fails)
        assert not isinstance(raised.value, ExceptionGroup)
        assert isinstance(raised.value.exceptions[0], Mine)

    run(main)


def test_cancelling_the_nursery_is_caught_by_it(run: Run) -> None:
    async def main() -> None:
        async with pelton.open_nursery() as nursery:
            nursery.start_soon(asyncio.sleep, FOREVER)
            nursery.cancel_scope.cancel()
        assert nursery.cancel_scope.cancelled_caught
        async with pelton.open_nursery() as nursery:
            nursery.start_soon(asyncio.sleep, FOREVER)
            nursery.cancel_scope.cancel()
            await asyncio.sleep(FOREVER)
            pytest.fail("not cancelled")
        assert counts() == 0

    run(main)


def test_outer_scope_reaches_tasks_at_any_depth(run: Run) -> None:
    async def main() -> None:
        ended = []

        async def leaf() -> None:
            try:
                await asyncio.sleep(FOREVER)
            finally:
                ended.append("leaf")

        async def branch(depth: int) -> None:
            with pelton.CancelScope():
                async with pelton.open_nursery() as nursery:
                    nursery.start_soon(*((branch, depth - 1) if depth else (leaf,)))
                    with pelton.CancelScope():
                        await asyncio.sleep(FOREVER)

        with pelton.move_on_after(0.02) as scope:
            async with pelton.open_nursery() as nursery:
                nursery.start_soon(branch, 4)
                nursery.start_soon(branch, 0)
        assert ended == ["leaf", "leaf"]
        assert scope.cancelled_caught
        assert not nursery.cancel_scope.cancelled_caught
        assert counts() == 0

    run(main)


def test_shielded_child_finishes(run: Run) -> None:
    async def main() -> None:
        ended = []

        async def child() -> None:
            with pelton.shield():
                await asyncio.sleep(0.02)
                ended.append("work")
            await asyncio.sleep(0)
            ended.append("never")

        async with pelton.open_nursery() as nursery:
            nursery.start_soon(child)
            await turns()
            nursery.cancel_scope.cancel()
        assert ended == ["work"]

    run(main)


def test_shielding_a_nursery(run: Run) -> None:
    async def main() -> None:
        ended = []

        async def child() -> None:
            await asyncio.sleep(0.02)
            ended.append("child")

        with pelton.CancelScope() as scope:
            scope.cancel()
            async with pelton.open_nursery() as nursery:
                nursery.cancel_scope.shield = True
                nursery.start_soon(child)
            assert ended == ["child"]
            await asyncio.sleep(0)
        assert scope.cancelled_caught

    run(main)


def test_a_cancelled_task_still_runs_to_its_first_await(run: Run) -> None:
    async def main() -> None:
        steps = []

        async def child(number: int) -> None:
            steps.append(number)
            await asyncio.sleep(0)
            steps.append(-1)

        async with pelton.open_nursery() as nursery:
            nursery.start_soon(child, 1)
            nursery.cancel_scope.cancel()
            nursery.start_soon(child, 2)
        assert steps == [1, 2]
        assert nursery.cancel_scope.cancelled_caught

    run(main)


def test_host_waiting_for_children_is_not_cancelled_itself(run: Run) -> None:
    # As in Trio: the children end well, so nothing is raised.
    async def main() -> None:
        async def stubborn() -> None:
            with pelton.shield():
                await asyncio.sleep(0.02)

        with pelton.CancelScope() as scope:
            async with pelton.open_nursery() as nursery:
                nursery.start_soon(stubborn)
                asyncio.get_running_loop().call_soon(scope.cancel)
            with pytest.raises(asyncio.CancelledError):
                await pelton.checkpoint()
        assert scope.cancel_called
        assert not scope.cancelled_caught

    run(main)


def test_task_cancel_of_the_host_ends_the_children_and_goes_on(run: Run) -> None:
    async def main() -> None:
        ended = []

        async def child() -> None:
            try:
                await asyncio.sleep(FOREVER)
            finally:
                with pelton.shield():
                    await asyncio.sleep(0.01)
                ended.append("child")

        async def host() -> None:
            async with pelton.open_nursery() as nursery:
                nursery.start_soon(child)

        for in_block in (False, True):

            async def host_in_block() -> None:
                async with pelton.open_nursery() as nursery:
                    nursery.start_soon(child)
                    await asyncio.sleep(FOREVER)

            task = asyncio.create_task(host_in_block() if in_block else host())
            await turns()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()
        assert ended == ["child", "child"]

    run(main)


def test_errors_go_before_a_task_cancel_which_is_made_again(run: Run) -> None:
    async def main() -> None:
        async def fails() -> None:
            try:
                await asyncio.sleep(FOREVER)
            finally:
                raise ValueError("mine")

        async def host() -> str:
            try:
                async with pelton.open_nursery() as nursery:
                    nursery.start_soon(fails)
            except ExceptionGroup:
                assert counts() == 1
                await asyncio.sleep(FOREVER)
            return "never"

        task = asyncio.create_task(host())
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_task_cancel_of_a_child_just_ends_it(run: Run) -> None:
    async def main() -> None:
        async with pelton.open_nursery() as nursery:
            nursery.start_soon(asyncio.sleep, FOREVER)
            nursery.start_soon(asyncio.sleep, FOREVER)
            (unstarted, started) = nursery.child_tasks
            unstarted.cancel()
            await turns()
            started.cancel()
        assert not nursery.cancel_scope.cancel_called

    run(main)


def test_a_child_may_start_others_until_the_end(run: Run) -> None:
    async def main() -> None:
        ended = []

        async def child(depth: int) -> None:
            await asyncio.sleep(0)
            if depth:
                nursery.start_soon(child, depth - 1)
            ended.append(depth)

        async with pelton.open_nursery() as nursery:
            nursery.start_soon(child, 3)
        assert ended == [3, 2, 1, 0]
        with pytest.raises(RuntimeError, match="closed"):
            nursery.start_soon(child, 1)
        with pytest.raises(RuntimeError, match="closed"):
            await nursery.start(child, 1)

    run(main)


def test_names_and_context(run: Run) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def main() -> None:
        seen: dict[str, str] = {}

        async def child() -> None:
            task = asyncio.current_task()
            assert task is not None
            seen[task.get_name()] = variable.get()
            variable.set("child")

        variable.set("host")
        async with pelton.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(functools.partial(child), name="mine")
        assert variable.get() == "host"
        assert set(seen.values()) == {"host"}
        assert "mine" in seen
        assert any(name.endswith("main.<locals>.child") for name in seen)

    run(main)


def test_what_is_no_async_function_is_refused(run: Run) -> None:
    async def main() -> None:
        async with pelton.open_nursery() as nursery:
            with pytest.raises(TypeError, match="not a coroutine"):
                nursery.start_soon(asyncio.sleep(0))  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="async function was expected"):
                nursery.start_soon(len, "abc")  # type: ignore[arg-type]

    run(main)


# --- beside others --------------------------------------------------------------------------------


def test_nested_with_taskgroups_both_ways(run: Run) -> None:
    async def main() -> None:
        ended = []

        async def leaf(name: str) -> None:
            try:
                await asyncio.sleep(FOREVER)
            finally:
                ended.append(name)

        async def in_group() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(leaf("under group"))

        async def in_nursery() -> None:
            async with pelton.open_nursery() as nursery:
                nursery.start_soon(leaf, "under nursery")
                nursery.start_soon(in_group)

        with pelton.move_on_after(0.02) as scope:
            async with pelton.open_nursery() as nursery:
                nursery.start_soon(in_group)
                async with asyncio.TaskGroup() as group:
                    group.create_task(in_nursery())
        assert scope.cancelled_caught
        assert sorted(ended) == ["under group", "under group", "under nursery"]
        assert counts() == 0

    run(main)


def test_error_in_a_taskgroup_ends_a_nursery_in_it(run: Run) -> None:
    async def main() -> None:
        async def fails() -> None:
            await turns()
            raise ValueError("mine")

        with pytest.raises(ExceptionGroup) as raised:
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
                async with pelton.open_nursery() as nursery:
                    nursery.start_soon(asyncio.sleep, FOREVER)
        assert isinstance(raised.value.exceptions[0], ValueError)
        assert counts() == 0

    run(main)


def test_nursery_in_timeout(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), pelton.open_nursery() as nursery:
                nursery.start_soon(asyncio.sleep, FOREVER)
        assert counts() == 0

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="3.12 brought eager tasks")
@pytest.mark.parametrize("factory", FACTORIES)
def test_eager_tasks(factory: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        steps: list[Any] = []

        async def child(number: int) -> None:
            with pelton.CancelScope():
                steps.append(number)
                await asyncio.sleep(FOREVER)

        async def ready(task_status: pelton.TaskStatus[int]) -> None:
            task_status.started(7)
            await asyncio.sleep(FOREVER)

        async with pelton.open_nursery() as nursery:
            nursery.start_soon(child, 1)
            assert steps == [1]
            assert await nursery.start(ready) == 7
            assert len(nursery.child_tasks) == 2
            nursery.cancel_scope.cancel()
            nursery.start_soon(child, 2)
        assert steps == [1, 2]
        assert nursery.cancel_scope.cancelled_caught

    with asyncio.Runner(loop_factory=FACTORIES[factory]) as runner:
        runner.run(main())


def test_no_cycles_are_left(run: Run) -> None:
    class Mine(Exception):
        pass

    async def main() -> None:
        async def child() -> None:
            raise Mine

        async def ok() -> None:
            await asyncio.sleep(0)

        gc.collect()
        gc.disable()
        try:
            references: list[weakref.ref[Any]] = []
            for function in (child, ok):
                try:
                    async with pelton.open_nursery() as nursery:
                        nursery.start_soon(function)
                except ExceptionGroup as group:
                    references.append(weakref.ref(group.exceptions[0]))
                references.append(weakref.ref(nursery.cancel_scope))
                del nursery
            await turns()
            assert [reference() for reference in references] == [None, None, None]
        finally:
            gc.enable()

    run(main)
