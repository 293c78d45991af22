"""Memory channels: order, bounds, clones, closing, and nothing lost when cancelled."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

import pelton
from pelton.aio import channel
from tests.nursery.conftest import Run
from tests.nursery.test_scope import FOREVER, counts, turns


def test_rendezvous(run: Run) -> None:
    async def main() -> None:
        send, receive = pelton.open_memory_channel[int](0)
        with pytest.raises(pelton.WouldBlock):
            send.send_nowait(1)
        with pytest.raises(pelton.WouldBlock):
            receive.receive_nowait()
        async with pelton.open_nursery() as nursery:
            nursery.start_soon(send.send, 1)
            await turns()
            assert send.statistics().tasks_waiting_send == 1
            assert receive.receive_nowait() == 1
            nursery.start_soon(send.send, 2)
            assert await receive.receive() == 2

    run(main)


def test_buffer_is_bounded_and_in_order(run: Run) -> None:
    async def main() -> None:
        send, receive = channel(2)
        sent = []

        async def produce() -> None:
            async with send:
                for number in range(6):
                    await send.send(number)
                    sent.append(number)

        async with pelton.open_nursery() as nursery:
            nursery.start_soon(produce)
            await turns(20)
            assert sent == [0, 1]
            assert receive.statistics() == pelton.MemoryChannelStatistics(2, 2, 1, 1, 1, 0)
            assert [number async for number in receive] == [0, 1, 2, 3, 4, 5]
        with pytest.raises(pelton.EndOfChannel):
            receive.receive_nowait()

    run(main)


def test_unbounded(run: Run) -> None:
    async def main() -> None:
        send, receive = pelton.open_memory_channel[int](math.inf)
        for number in range(1000):
            send.send_nowait(number)
        send.close()
        assert [number async for number in receive] == list(range(1000))

    run(main)


@pytest.mark.parametrize(("size", "error"), [(-1, ValueError), (1.5, TypeError), ("1", TypeError)])
def test_wrong_sizes(size: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        pelton.open_memory_channel(size)


def test_who_waits_is_served_in_order(run: Run) -> None:
    async def main() -> None:
        send, receive = channel(1)
        got: list[tuple[str, int]] = []

        async def consume(name: str) -> None:
            got.append((name, await receive.receive()))

        async with pelton.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(consume, name)
                await turns()
            assert receive.statistics().tasks_waiting_receive == 3
            for number in range(3):
                send.send_nowait(number)
        assert sorted(got) == [("a", 0), ("b", 1), ("c", 2)]

    run(main)


def test_clones_count(run: Run) -> None:
    async def main() -> None:
        send, receive = channel(4)
        with send.clone() as second, receive.clone() as other:
            assert send.statistics().open_send_channels == 2
            assert receive.statistics().open_receive_channels == 2
            send.close()
            send.close()
            await second.send(1)
            receive.close()
            await second.send(2)
            assert other.receive_nowait() == 1
        assert send.statistics().open_send_channels == 0
        for closed in (send.clone, receive.clone):
            with pytest.raises(pelton.ClosedResourceError):
                closed()

    run(main)


def test_last_sender_closed_ends_the_channel(run: Run) -> None:
    async def main() -> None:
        send, receive = channel(2)
        await send.send(1)

        async def consume() -> None:
            assert await receive.receive() == 1
            with pytest.raises(pelton.EndOfChannel):
                await receive.receive()

        async with pelton.open_nursery() as nursery:
            nursery.start_soon(consume)
            await turns()
            await send.aclose()
        with pytest.raises(pelton.ClosedResourceError):
            send.send_nowait(2)
        with pytest.raises(pelton.ClosedResourceError):
            await send.send(2)

    run(main)


def test_last_receiver_closed_breaks_the_channel(run: Run) -> None:
    async def main() -> None:
        send, receive = channel(0)

        async def produce() -> None:
            with pytest.raises(pelton.BrokenResourceError):
                await send.send(1)

        async with pelton.open_nursery() as nursery:
            nursery.start_soon(produce)
            await turns()
            await receive.aclose()
        with pytest.raises(pelton.BrokenResourceError):
            send.send_nowait(2)
        with pytest.raises(pelton.BrokenResourceError):
            await send.send(2)
        with pytest.raises(pelton.ClosedResourceError):
            receive.receive_nowait()
        with pytest.raises(pelton.ClosedResourceError):
            await receive.receive()

    run(main)


def test_closing_under_a_waiting_task(run: Run) -> None:
    async def main() -> None:
        send, receive = channel(0)
        second, other = send.clone(), receive.clone()

        async def expect_closed(wait: Callable[..., Any], *args: int) -> None:
            with pytest.raises(pelton.ClosedResourceError):
                await wait(*args)

        async with pelton.open_nursery() as nursery:
            nursery.start_soon(expect_closed, receive.receive)
            await turns()
            receive.close()
        async with pelton.open_nursery() as nursery:
            nursery.start_soon(expect_closed, send.send, 1)
            await turns()
            send.close()
        assert send.statistics() == pelton.MemoryChannelStatistics(0, 0, 1, 1, 0, 0)
        second.close()
        other.close()

    run(main)


def test_cancelled_waits_leave_nothing(run: Run) -> None:
    async def main() -> None:
        send, receive = channel(0)
        with pelton.move_on_after(0.005) as scope:
            await receive.receive()
        assert scope.cancelled_caught
        with pelton.move_on_after(0.005) as scope:
            await send.send(1)
        assert scope.cancelled_caught
        assert send.statistics() == pelton.MemoryChannelStatistics(0, 0, 1, 1, 0, 0)
        with pelton.CancelScope() as scope:
            scope.cancel()
            async with pelton.open_nursery() as nursery:
                nursery.start_soon(send.send, 1)
                await receive.receive()
        assert scope.cancelled_caught

    run(main)


def test_every_operation_is_a_checkpoint(run: Run) -> None:
    async def main() -> None:
        send, receive = channel(2)
        send.send_nowait(1)
        with pelton.CancelScope() as scope:
            scope.cancel()
            with pytest.raises(asyncio.CancelledError):
                await send.send(2)
            with pytest.raises(asyncio.CancelledError):
                await receive.receive()
            with pytest.raises(asyncio.CancelledError):
                async for _ in receive:
                    pytest.fail("received")
        assert receive.receive_nowait() == 1

    run(main)


def test_others_run_beside_operations_that_never_wait(run: Run) -> None:
    async def main() -> None:
        send, receive = channel(1)
        ran = []

        async def other() -> None:
            ran.append(1)

        async with pelton.open_nursery() as nursery:
            nursery.start_soon(other)
            for number in range(200):
                await send.send(number)
                assert await receive.receive() == number
            assert ran

    run(main)


def test_item_of_the_deadlines_turn_is_received(run: Run) -> None:
    async def main() -> None:
        send, receive = channel(0)
        loop = asyncio.get_running_loop()
        with pelton.CancelScope() as scope:

            def both() -> None:
                send.send_nowait("item")
                scope.cancel()

            loop.call_soon(both)
            assert await receive.receive() == "item"
            await asyncio.sleep(0)
        assert scope.cancelled_caught

    run(main)


@pytest.mark.parametrize("others", [0, 1])
def test_item_of_a_task_cancels_turn_goes_back(run: Run, others: int) -> None:
    async def main() -> None:
        send, receive = channel(0)
        got = []

        async def consume() -> None:
            got.append(await receive.receive())

        task = asyncio.create_task(consume())
        await turns()
        rest = [asyncio.create_task(consume()) for _ in range(others)]
        await turns()
        send.send_nowait("item")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.gather(*rest)
        assert (got or [receive.receive_nowait()]) == ["item"]

    run(main)


def test_stress_loses_nothing(run: Run) -> None:
    # The program of anyio#589: deadlines race with items.
    async def main() -> None:
        send, receive = channel(0)
        got: list[int] = []
        accepted: list[int] = []
        total = 300

        async def produce() -> None:
            with send:
                for number in range(total):
                    with pelton.move_on_after(0.0003 if number % 3 else FOREVER):
                        await send.send(number)
                        accepted.append(number)

        async def consume() -> None:
            while True:
                with pelton.move_on_after(0.0002):
                    try:
                        got.append(await receive.receive())
                    except pelton.EndOfChannel:
                        return

        async with pelton.open_nursery() as nursery:
            nursery.start_soon(produce)
            nursery.start_soon(consume)
            nursery.start_soon(consume)
        assert sorted(got) == accepted
        assert len(got) >= total // 3
        assert counts() == 0

    run(main)
