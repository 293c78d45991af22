"""Cancel scopes in one task: deadlines, shields, nesting, counts, and who catches what."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
from collections.abc import AsyncIterator

import pytest

import pelton
from pelton._nursery.delivery import TaskScopes
from tests.nursery.conftest import Run

FOREVER = 3600.0


def counts() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def test_deadline_cancels_and_is_caught(run: Run) -> None:
    async def main() -> None:
        with pelton.move_on_after(0.01) as scope:
            await asyncio.sleep(FOREVER)
            pytest.fail("not cancelled")
        assert scope.cancel_called
        assert scope.cancelled_caught
        assert counts() == 0
        await asyncio.sleep(0)  # nothing is left behind

    run(main)


def test_scope_that_is_not_cancelled_catches_nothing(run: Run) -> None:
    async def main() -> None:
        with pelton.move_on_after(FOREVER) as scope:
            await asyncio.sleep(0)
        assert not scope.cancel_called
        assert not scope.cancelled_caught
        with pytest.raises(ValueError, match="mine"), pelton.CancelScope():
            raise ValueError("mine")

    run(main)


def test_cancel_called_without_an_await_catches_nothing(run: Run) -> None:
    async def main() -> None:
        with pelton.CancelScope() as scope:
            scope.cancel()
            scope.cancel()
        assert scope.cancel_called
        assert not scope.cancelled_caught
        await turns()
        assert counts() == 0

    run(main)


def test_every_await_is_cancelled_until_the_scope_ends(run: Run) -> None:
    async def main() -> None:
        raised = 0
        with pelton.CancelScope() as scope:
            scope.cancel()
            for wait in (
                lambda: asyncio.sleep(0),
                lambda: asyncio.sleep(FOREVER),
                lambda: asyncio.Event().wait(),
                pelton.checkpoint,
                lambda: asyncio.gather(asyncio.sleep(FOREVER), asyncio.sleep(FOREVER)),
            ):
                with pytest.raises(asyncio.CancelledError):
                    await wait()
                raised += 1
            await asyncio.sleep(FOREVER)
        assert raised == 5
        assert scope.cancelled_caught
        assert counts() == 0
        await turns()

    run(main)


def test_an_await_that_swallows_for_ever_is_told_with_pauses(run: Run) -> None:
    # Also the proof that nothing spins: the loop's turns are counted meanwhile.
    async def main() -> None:
        loop = asyncio.get_running_loop()
        swallowed = 0
        end = loop.time() + 0.2
        with pelton.CancelScope() as scope:
            scope.cancel()
            while loop.time() < end:
                try:
                    await asyncio.sleep(FOREVER)
                except asyncio.CancelledError:
                    swallowed += 1
        assert 20 < swallowed < 80
        assert not scope.cancelled_caught
        assert counts() == 0

    run(main)


def test_checkpoints_raise_at_once_however_much_was_swallowed(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pelton.CancelScope() as scope:
            scope.cancel()
            for _ in range(200):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
            begin = loop.time()
            for _ in range(200):
                with pytest.raises(asyncio.CancelledError):
                    await pelton.checkpoint()
            assert loop.time() - begin < 10  # 200 pauses would be 20 s
        assert counts() == 0

    run(main)


def test_no_spin_while_a_taskgroup_waits_for_a_child_that_cleans_up(run: Run) -> None:
    async def main() -> None:
        looks = 0
        look = TaskScopes._look

        def counted(scopes: TaskScopes, waiter: object = None) -> None:
            nonlocal looks
            looks += 1
            look(scopes, waiter)

        async def child() -> None:
            try:
                await asyncio.sleep(FOREVER)
            except asyncio.CancelledError:
                await asyncio.sleep(0.2)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TaskScopes, "_look", counted)
            with pelton.move_on_after(0.01) as scope:
                async with asyncio.TaskGroup() as group:
                    group.create_task(child())
        assert scope.cancelled_caught
        assert 30 < looks < 100  # without pauses: tens of thousands
        assert counts() == 0

    run(main)


def test_a_cancelled_inner_task_that_cleans_up_is_told_once(run: Run) -> None:
    async def main() -> None:
        told = 0

        async def inner() -> None:
            nonlocal told
            try:
                await asyncio.sleep(FOREVER)
            except asyncio.CancelledError:
                told += 1
            await asyncio.sleep(0.05)  # not in the scope: asyncio's own task

        task = asyncio.create_task(inner())
        with pelton.move_on_after(0.01) as scope:
            await task
        assert told == 1
        assert not scope.cancelled_caught  # the await ended well

    run(main)


def test_cancelled_before_it_is_entered(run: Run) -> None:
    async def main() -> None:
        scope = pelton.CancelScope()
        scope.cancel()
        with scope:
            await pelton.checkpoint()
            pytest.fail("not cancelled")
        assert scope.cancelled_caught

    run(main)


@pytest.mark.parametrize("after", [0, 1e-9])
def test_past_deadline_is_delivered_at_the_first_await(run: Run, after: float) -> None:
    async def main() -> None:
        with pelton.move_on_after(after) as scope:
            await asyncio.sleep(FOREVER)
        assert scope.cancelled_caught
        with pelton.move_on_at(asyncio.get_running_loop().time() - 1) as scope:
            assert scope.cancel_called
            await asyncio.sleep(0)
        assert scope.cancelled_caught

    run(main)


def test_relative_timeouts_count_from_entering(run: Run) -> None:
    async def main() -> None:
        scope = pelton.move_on_after(0.02)
        await asyncio.sleep(0.03)
        with scope:
            await asyncio.sleep(0)
        assert not scope.cancel_called

    run(main)


def test_deadline_may_be_changed(run: Run) -> None:
    async def main() -> None:
        now = asyncio.get_running_loop().time()
        with pelton.CancelScope() as scope:
            assert scope.deadline == math.inf
            scope.deadline = now + 0.01
            await asyncio.sleep(FOREVER)
        assert scope.cancelled_caught
        with pelton.move_on_after(0.01) as scope:
            scope.deadline = math.inf
            await asyncio.sleep(0.03)
        assert not scope.cancel_called
        with pelton.move_on_after(FOREVER) as scope:
            assert pelton.current_effective_deadline() == scope.deadline
            scope.deadline = pelton.current_time()
            assert scope.cancel_called
            assert pelton.current_effective_deadline() == -math.inf

    run(main)


def test_cancel_called_looks_at_the_clock(run: Run) -> None:
    async def main() -> None:
        with pelton.move_on_after(0.001) as scope:
            end = pelton.current_time() + 0.002
            while pelton.current_time() < end:
                pass
            assert scope.cancel_called  # though no timer could run

    run(main)


def test_effective_deadline_of_nested_scopes(run: Run) -> None:
    async def main() -> None:
        assert pelton.current_effective_deadline() == math.inf
        with pelton.move_on_at(1e12) as outer, pelton.move_on_at(2e12):
            assert pelton.current_effective_deadline() == 1e12
            with pelton.shield():
                assert pelton.current_effective_deadline() == math.inf
                with pelton.move_on_at(3e12):
                    assert pelton.current_effective_deadline() == 3e12
            outer.cancel()
            assert pelton.current_effective_deadline() == -math.inf

    run(main)


def test_outer_scope_catches_what_it_cancels(run: Run) -> None:
    async def main() -> None:
        with pelton.CancelScope() as outer:
            with pelton.CancelScope() as inner:
                outer.cancel()
                inner.cancel()
                await asyncio.sleep(FOREVER)
            pytest.fail("the inner scope swallowed the outer one's cancellation")
        assert outer.cancelled_caught
        assert not inner.cancelled_caught
        assert counts() == 0

    run(main)


def test_inner_scope_leaves_the_outer_alone(run: Run) -> None:
    async def main() -> None:
        with pelton.CancelScope() as outer:
            with pelton.CancelScope() as inner:
                inner.cancel()
                await asyncio.sleep(FOREVER)
            await turns()
        assert inner.cancelled_caught
        assert not outer.cancel_called

    run(main)


def test_shield_keeps_the_outer_out_until_it_ends(run: Run) -> None:
    async def main() -> None:
        done = []
        with pelton.CancelScope() as outer:
            outer.cancel()
            with pelton.shield():
                await asyncio.sleep(0.01)
                done.append("shielded")
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(0)
            with pelton.shield() as opened:
                await asyncio.sleep(0)
                opened.shield = False
                await asyncio.sleep(FOREVER)
        assert done == ["shielded"]
        assert outer.cancelled_caught
        assert counts() == 0

    run(main)


def test_shield_set_while_open(run: Run) -> None:
    async def main() -> None:
        with pelton.CancelScope() as outer, pelton.CancelScope() as inner:
            inner.shield = True
            outer.cancel()
            await asyncio.sleep(0.01)
            inner.shield = False
            await asyncio.sleep(FOREVER)
        assert outer.cancelled_caught

    run(main)


def test_shielded_scopes_own_deadline_fires(run: Run) -> None:
    async def main() -> None:
        with pelton.CancelScope() as outer:
            outer.cancel()
            with pelton.move_on_after(0.01, shield=True) as inner:
                await asyncio.sleep(FOREVER)
            assert inner.cancelled_caught
            await asyncio.sleep(FOREVER)
        assert outer.cancelled_caught
        assert counts() == 0

    run(main)


def test_clean_up_under_a_shield_in_finally(run: Run) -> None:
    async def main() -> None:
        cleaned = False
        with pelton.move_on_after(0.01) as scope:
            try:
                await asyncio.sleep(FOREVER)
            finally:
                with pelton.move_on_after(5, shield=True):
                    await asyncio.sleep(0.01)
                    async with asyncio.timeout(5):
                        await asyncio.sleep(0.01)
                    cleaned = True
        assert cleaned
        assert scope.cancelled_caught

    run(main)


def test_three_levels_of_shields(run: Run) -> None:
    async def main() -> None:
        steps = []
        with pelton.CancelScope() as first:
            with pelton.shield() as second:
                with pelton.shield():
                    first.cancel()
                    second.cancel()
                    await asyncio.sleep(0)
                    steps.append("inner")
                await asyncio.sleep(0)
                steps.append("never")
            assert second.cancelled_caught
            steps.append("middle")
            await asyncio.sleep(0)
            steps.append("never")
        assert steps == ["inner", "middle"]
        assert first.cancelled_caught

    run(main)


def test_fail_after_and_fail_at(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError), pelton.fail_after(0.01) as scope:
            await asyncio.sleep(FOREVER)
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError), pelton.fail_at(pelton.current_time()):
            await asyncio.sleep(FOREVER)
        with pelton.fail_after(FOREVER):
            await asyncio.sleep(0)
        with pelton.fail_after(0):
            pass  # late, but nothing was cancelled
        with pytest.raises(ValueError, match="mine"), pelton.fail_after(0.01):
            try:
                await asyncio.sleep(FOREVER)
            finally:
                raise ValueError("mine")
        assert counts() == 0

    run(main)


def test_wrong_arguments() -> None:
    for make in (pelton.move_on_after, pelton.fail_after):
        with pytest.raises(ValueError, match="from zero"):
            make(-1)
        with pytest.raises(ValueError, match="from zero"):
            make(math.nan)
    with pytest.raises(ValueError, match="NaN"):
        pelton.CancelScope(deadline=math.nan)
    scope = pelton.CancelScope()
    with pytest.raises(ValueError, match="NaN"):
        scope.deadline = math.nan
    with pytest.raises(TypeError, match="bool"):
        scope.shield = 1  # type: ignore[assignment]
    with pytest.raises(TypeError, match="bool"):
        pelton.CancelScope(shield=None)  # type: ignore[arg-type]


def test_a_scope_needs_a_task_and_is_entered_once(run: Run) -> None:
    with pytest.raises(RuntimeError), pelton.CancelScope():
        pass

    async def main() -> None:
        scope = pelton.CancelScope()
        with scope:
            pass
        with pytest.raises(RuntimeError, match="once"):
            scope.__enter__()
        with pytest.raises(RuntimeError, match="not open"):
            scope.__exit__(None, None, None)

    run(main)


def test_wrong_order_of_leaving(run: Run) -> None:
    async def main() -> None:
        outer, inner = pelton.CancelScope(), pelton.CancelScope()
        outer.__enter__()
        inner.__enter__()
        with pytest.raises(RuntimeError, match="reverse order"):
            outer.__exit__(None, None, None)
        with pytest.raises(RuntimeError, match="not open"):
            inner.__exit__(None, None, None)
        with pelton.move_on_after(0) as scope:  # all is well again
            await asyncio.sleep(FOREVER)
        assert scope.cancelled_caught

    run(main)


def test_leaving_in_another_task(run: Run) -> None:
    async def main() -> None:
        scope = pelton.CancelScope()

        async def enter() -> None:
            scope.__enter__()

        async def leave() -> None:
            with pytest.raises(RuntimeError, match="same task"):
                scope.__exit__(None, None, None)

        await asyncio.create_task(enter())
        await asyncio.create_task(leave())

    run(main)


def test_what_is_there_in_the_turn_of_the_deadline_is_returned(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with pelton.CancelScope() as scope:

            def both() -> None:
                future.set_result("item")
                scope.cancel()

            loop.call_soon(both)
            assert await future == "item"
            await asyncio.sleep(FOREVER)
        assert scope.cancelled_caught
        assert counts() == 0

    run(main)


def test_cancelled_error_in_groups(run: Run) -> None:
    async def main() -> None:
        with pelton.CancelScope() as scope:
            scope.cancel()
            raise BaseExceptionGroup("all of it", [asyncio.CancelledError()])
        assert scope.cancelled_caught
        with pytest.raises(ExceptionGroup) as raised, pelton.CancelScope() as scope:
            scope.cancel()
            raise BaseExceptionGroup("some of it", [asyncio.CancelledError(), ValueError("mine")])
        assert scope.cancelled_caught
        assert [type(error) for error in raised.value.exceptions] == [ValueError]
        assert raised.value.__context__ is None
        with pytest.raises(ExceptionGroup), pelton.CancelScope() as scope:
            scope.cancel()
            raise ExceptionGroup("none of it", [ValueError("mine")])
        assert not scope.cancelled_caught

    run(main)


def test_errors_beat_cancellation(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="mine"), pelton.CancelScope() as scope:
            scope.cancel()
            try:
                await asyncio.sleep(FOREVER)
            finally:
                raise ValueError("mine")
        assert not scope.cancelled_caught
        assert counts() == 0

    run(main)


@pytest.mark.filterwarnings("default::ResourceWarning")
def test_scope_in_an_async_generator_that_is_closed(run: Run) -> None:
    async def main() -> None:
        async def generate() -> AsyncIterator[int]:
            with pelton.CancelScope():
                yield 1

        generator = generate()
        async for _ in generator:
            break
        await generator.aclose()  # type: ignore[attr-defined]
        with pelton.move_on_after(0) as scope:
            await asyncio.sleep(FOREVER)
        assert scope.cancelled_caught

    run(main)


def test_nothing_is_left_for_the_collector(run: Run) -> None:
    async def main() -> None:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                with pelton.CancelScope() as scope:
                    scope.cancel()
                    await asyncio.sleep(0)
                del scope
            before = gc.get_count()
            assert gc.collect() == 0, before
        finally:
            gc.enable()

    run(main)


def test_repr() -> None:
    scope = pelton.CancelScope(deadline=3, shield=True)
    assert repr(scope) == "<CancelScope not entered, shielded, deadline 3>"
    scope.cancel()
    assert "cancelled" in repr(scope)
