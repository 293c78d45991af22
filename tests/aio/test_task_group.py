"""`TaskGroup`, where CPython's own tests do not look."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from pelton import aio
from tests.aio.support import Run, dies_without_collector, failure, forever, turns, value

var = contextvars.ContextVar[str]("var")


def test_all_tasks_end_before_the_block(run: Run) -> None:
    async def main() -> list[int]:
        async with aio.TaskGroup() as group:
            tasks = [group.create_task(value(n, n)) for n in range(5)]
            assert group._tasks == set(tasks)
            assert repr(group) == "<TaskGroup tasks=5 entered>"
        assert group._tasks == set()
        return [task.result() for task in tasks]

    assert run(main()) == [0, 1, 2, 3, 4]


def test_names_and_contexts(run: Run) -> None:
    async def read() -> str:
        return var.get("none")

    async def main() -> None:
        context = contextvars.copy_context()
        context.run(var.set, "given")
        async with aio.TaskGroup() as group:
            named = group.create_task(read(), name="reader")
            other = group.create_task(coro=read(), context=context)
        assert named.get_name() == "reader"
        assert (named.result(), other.result()) == ("none", "given")

    run(main())


def test_errors_leave_together_and_cancel_the_rest(run: Run) -> None:
    rest: list[asyncio.Task[None]] = []

    async def block() -> None:
        async with aio.TaskGroup() as group:
            rest.append(group.create_task(forever()))
            group.create_task(failure(KeyError(), 1))
            group.create_task(failure(ValueError(), 1))
            await forever()

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            await block()
        assert {type(error) for error in caught.value.exceptions} == {KeyError, ValueError}
        assert caught.value.message == "unhandled errors in a TaskGroup"
        assert caught.value.__suppress_context__
        assert rest[0].cancelled()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(main())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_programs_leaves_bare(kind: type[BaseException]) -> None:
    async def main() -> None:
        async with aio.TaskGroup() as group:
            group.create_task(forever())
            raise kind

    with pytest.raises(kind):
        asyncio.run(main())


def test_a_request_from_outside_stands_beside_errors(run: Run) -> None:
    """cpython#116720: the errors come first, the request is not lost."""

    async def block() -> None:
        try:
            async with aio.TaskGroup() as group:
                group.create_task(failure(KeyError(), 2))
                await forever()
        except* KeyError:
            pass
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 1
        await asyncio.sleep(0)
        raise AssertionError("the request was lost")

    async def main() -> None:
        task = asyncio.create_task(block())
        await turns(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_subclasses_have_arguments_and_attributes(run: Run) -> None:
    class Named(aio.TaskGroup):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def create_task(self, coro: Any, **options: Any) -> Any:
            return super().create_task(coro, name=self.name, **options)

    async def main() -> None:
        async with Named("ours") as group:
            assert group.name == "ours"
            task = group.create_task(value(1))
        assert task.get_name() == "ours"

    run(main())


def test_it_takes_no_arguments() -> None:
    with pytest.raises(TypeError):
        aio.TaskGroup(1)  # type: ignore[call-arg]


def test_a_group_that_was_not_entered(run: Run) -> None:
    async def main() -> None:
        coroutine = value(1)
        with pytest.raises(RuntimeError, match="has not been entered"):
            aio.TaskGroup().create_task(coroutine)
        coroutine.close()
        with pytest.raises(TypeError):
            aio.TaskGroup().create_task()  # type: ignore[call-arg]

    run(main())


def test_a_block_in_a_timeout(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with aio.timeout(0.001), aio.TaskGroup() as group:
                task = group.create_task(forever())
        assert task.cancelled()

    run(main())


def test_a_finished_group_is_in_no_cycle(run: Run) -> None:
    async def block() -> aio.TaskGroup:
        async with aio.TaskGroup() as group:
            group.create_task(value(1))
        return group

    async def main() -> None:
        groups = [await block()]
        await turns(1)
        assert dies_without_collector(groups.pop)

    run(main())


def test_a_caught_error_is_in_no_cycle(run: Run) -> None:
    class Failure(Exception):
        """One of ours: those of builtins take no weak references."""

    async def fails() -> None:
        raise Failure  # in no variable: its frame would hold it

    async def block() -> BaseException:
        try:
            async with aio.TaskGroup() as group:
                group.create_task(fails())
        except ExceptionGroup as error:
            return error.exceptions[0]
        raise AssertionError

    async def main() -> None:
        errors = [await block()]
        await turns(1)
        assert dies_without_collector(errors.pop)

    run(main())
