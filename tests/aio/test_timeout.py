"""`timeout`, `timeout_at` and `Timeout`, where CPython's own tests do not look."""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
import weakref
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

import pelton
from pelton import aio
from tests.aio.support import Run, forever, turns


def test_the_deadline_is_a_float_of_the_loops_clock(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        deadline = aio.timeout(60)
        when = deadline.when()
        assert type(when) is float
        assert before + 60 <= when <= loop.time() + 60

    run(main())


def test_a_given_deadline_is_returned_as_it_is(run: Run) -> None:
    given = 10**9

    async def main() -> None:
        async with aio.timeout_at(given) as deadline:
            assert deadline.when() is given
            deadline.reschedule(None)
            assert deadline.when() is None

    run(main())


@pytest.mark.parametrize("make", [aio.timeout, aio.timeout_at, aio.Timeout])
def test_it_takes_one_argument_also_by_name(run: Run, make: Callable[..., Any]) -> None:
    name = "delay" if make is aio.timeout else "when"

    async def main() -> None:
        assert make(**{name: None}).when() is None
        for wrong in ((), (1, 2)):
            with pytest.raises(TypeError):
                make(*wrong)
        with pytest.raises(TypeError):
            make(other=1)

    run(main())


def test_signatures() -> None:
    assert str(inspect.signature(aio.timeout)) == "(delay)"
    assert str(inspect.signature(aio.Timeout.reschedule)) == "(self, /, when)"


@pytest.mark.parametrize("number", [Fraction(1, 1000), True, 10**400])
def test_any_number_is_a_delay(run: Run, number: Any) -> None:
    async def main() -> None:
        async with aio.timeout(number):
            await forever()

    if number == 10**400:
        with pytest.raises(OverflowError):
            run(main())
    elif number is not True:
        with pytest.raises(TimeoutError):
            run(main())


def test_a_delay_that_is_no_number(run: Run) -> None:
    async def main() -> None:
        aio.timeout("soon")  # type: ignore[arg-type]

    with pytest.raises(TypeError):
        run(main())


def test_outside_of_a_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        aio.timeout(1)


def test_outside_of_a_task(run: Run) -> None:
    errors: list[BaseException] = []

    def enter() -> None:
        entering = aio.timeout(1).__aenter__()
        try:
            entering.send(None)
        except RuntimeError as error:
            errors.append(error)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(enter)
        await turns(2)

    run(main())
    assert [str(error) for error in errors] == ["Timeout should be used inside a task"]


def test_a_block_that_waits_for_nothing_else_is_ended(run: Run) -> None:
    """Nobody else holds the task then: the timer must."""

    async def waits() -> str:
        try:
            async with aio.timeout(0.01):
                await forever()
        except TimeoutError:
            return "in time"
        return "never"

    async def main() -> str:
        done = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(waits())
        task.add_done_callback(lambda task: done.set_result(task.result()))
        del task
        await turns(2)
        gc.collect()
        result: str = await done
        return result

    assert run(main()) == "in time"


def test_a_left_block_holds_nothing(run: Run) -> None:
    class Witness:
        pass

    async def block() -> weakref.ref[Witness]:
        witness = Witness()
        async with aio.timeout(60):
            await asyncio.sleep(0)
        return weakref.ref(witness)

    async def main() -> None:
        alive = await asyncio.create_task(block())
        await turns(2)
        assert alive() is None

    run(main())


def test_moved_deadlines_end_the_block_once(run: Run) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        try:
            async with aio.timeout(60) as deadline:
                for delay in (50, 0.001, 40, 0.002):
                    deadline.reschedule(loop.time() + delay)
                await forever()
        except TimeoutError:
            assert deadline.expired()
        task = asyncio.current_task()
        assert task is not None
        await turns(3)
        return task.cancelling()

    assert run(main()) == 0


def test_moving_it_when_it_is_over(run: Run) -> None:
    async def main() -> None:
        deadline = aio.timeout(None)
        with pytest.raises(RuntimeError, match="Timeout has not been entered"):
            deadline.reschedule(1)
        async with deadline:
            pass
        with pytest.raises(RuntimeError, match="Cannot change state of finished Timeout"):
            deadline.reschedule(1)
        with pytest.raises(RuntimeError, match="Timeout has already been entered"):
            async with deadline:
                pass

    run(main())


def test_repr_tells_the_state(run: Run) -> None:
    async def main() -> None:
        deadline = aio.timeout_at(12345678.12345)
        assert repr(deadline) == "<Timeout [created]>"
        async with deadline:
            assert repr(deadline) == "<Timeout [active] when=12345678.123>"
            deadline.reschedule(None)
            assert repr(deadline) == "<Timeout [active] when=None>"
        assert repr(deadline) == "<Timeout [finished]>"

    run(main())


def test_another_task_may_enter_the_awaitable(run: Run) -> None:
    """`__aenter__` is a coroutine: the task that runs it is the one that is timed."""

    async def main() -> None:
        deadline = aio.timeout(60)
        entering = deadline.__aenter__()
        assert asyncio.iscoroutine(entering)
        assert await asyncio.create_task(entering) is deadline

    run(main())


def test_a_block_is_shown_as_waiting_in_it(run: Run) -> None:
    async def main() -> None:
        entering = aio.timeout(1).__aenter__()
        assert repr(entering).startswith("<coroutine object Timeout.__aenter__ at ")
        entering.close()

    run(main())


def test_debug_mode_knows_where_the_timer_was_set(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        with pytest.raises(TimeoutError):
            async with aio.timeout(0.001):
                await forever()

    run(main())


def test_a_loop_with_its_own_clock() -> None:
    """A subclass that has another time sets the pace."""

    class Faster(pelton.Loop):
        def time(self) -> float:
            return super().time() * 1000

    async def main() -> str:
        try:
            async with aio.timeout(20):  # 20 ms of ours
                await forever()
        except TimeoutError:
            return "timed out"

    with asyncio.Runner(loop_factory=Faster) as runner:
        loop: Any = runner.get_loop()
        # Timers of the loop go by the monotonic clock, so they are given its times.
        loop.call_at = lambda when, *args, **options: pelton.Loop.call_at(
            loop, when / 1000, *args, **options
        )
        assert runner.run(main()) == "timed out"


def test_many_cancelled_deadlines_leave_the_heap() -> None:
    async def main() -> int:
        for _ in range(10_000):
            async with aio.timeout(3600):
                pass
        loop: Any = asyncio.get_running_loop()
        timers = loop._stats()["timers"]
        assert isinstance(timers, int)
        return timers

    assert pelton.run(main()) < 1000


def test_the_cause_is_the_cancellation(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError) as caught:
            async with aio.timeout(0.001):
                await forever()
        error = caught.value
        assert isinstance(error.__cause__, asyncio.CancelledError)
        assert error.__context__ is error.__cause__
        assert re.fullmatch(r"", str(error))

    run(main())
