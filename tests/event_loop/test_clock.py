"""Timers follow `loop.time()`, also a replaced one; an idle loop does nothing."""

from __future__ import annotations

import asyncio
import threading
from typing import Any
from unittest import mock

import pytest

import pelton


def turns(loop: pelton.Loop) -> int:
    count: int = loop._stats()["turns"]
    return count


async def some_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_replaced_clock_moves_the_timers(loop: asyncio.AbstractEventLoop) -> None:
    got: list[str] = []
    now = 1000.0

    async def main() -> None:
        nonlocal now
        with mock.patch.object(loop, "time", side_effect=lambda: now):
            handle = loop.call_later(3600, got.append, "an hour")
            assert handle.when() == 4600.0
            loop.call_at(1001.0, got.append, "a second")
            await some_turns()
            assert got == []
            now = 1001.5
            await some_turns()
            assert got == ["a second"]
            now = 4600.0
            await some_turns()
            assert got == ["a second", "an hour"]
        assert loop.time() != now
        await asyncio.sleep(0.001)

    loop.run_until_complete(main())


def test_a_subclass_may_have_its_own_clock() -> None:
    class Shifted(pelton.Loop):
        def time(self) -> float:
            return super().time() + 1e6

    loop = Shifted()
    try:
        handle = loop.call_later(0.001, loop.stop)
        assert abs(handle.when() - loop.time()) < 60
        loop.run_forever()
        assert loop.time() >= handle.when()
    finally:
        loop.close()


def test_a_clock_that_fails_is_seen(our_loop: pelton.Loop) -> None:
    def broken() -> float:
        raise ValueError("no time")

    our_loop.call_later(60, print)
    vars(our_loop)["time"] = broken
    with pytest.raises(ValueError, match="no time"):
        our_loop.run_forever()
    del our_loop.time
    our_loop.call_soon(our_loop.stop)
    our_loop.run_forever()


def test_an_idle_loop_makes_no_turns(our_loop: pelton.Loop) -> None:
    """Between going to sleep and being woken there is nothing, whatever time that takes."""
    waiting = threading.Event()

    async def main() -> tuple[int, int]:
        await our_loop.run_in_executor(None, int)  # with a thread that is idle as well
        server = await our_loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        our_loop.call_later(3600, print)
        woken = our_loop.create_future()

        def wake() -> None:
            waiting.wait(0.2)  # nobody sets it: the loop sleeps that long
            our_loop.call_soon_threadsafe(woken.set_result, None)

        thread = threading.Thread(target=wake)
        thread.start()
        before = turns(our_loop)
        await woken
        after = turns(our_loop)
        thread.join()
        server.close()
        return before, after

    before, after = our_loop.run_until_complete(main())
    # To sleep, awake with the callback, and the task that it woke.
    assert after - before <= 5


@pytest.mark.parametrize("when", [-1.0, -1e300, 0.0])
def test_what_is_over_is_due_at_once_and_in_order(our_loop: pelton.Loop, when: float) -> None:
    got: list[int] = []  # asyncio's heap keeps no order among equals
    for number in range(3):
        our_loop.call_at(when, got.append, number)
    our_loop.call_later(when, our_loop.stop)
    our_loop.run_forever()
    assert got == [0, 1, 2]


@pytest.mark.parametrize("delay", [1e9, 1e300, float("inf")])
def test_far_timers_neither_fire_nor_hinder(loop: asyncio.AbstractEventLoop, delay: float) -> None:
    handle = loop.call_later(delay, pytest.fail, "fired")
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    handle.cancel()


def test_timers_are_served_during_a_flood_from_another_thread(
    loop: asyncio.AbstractEventLoop,
) -> None:
    fired: list[int] = []
    ended = threading.Event()
    sent = 0

    def flood() -> None:
        nonlocal sent
        while not ended.is_set():
            loop.call_soon_threadsafe(int)
            sent += 1

    async def main() -> None:
        for number in range(20):
            await asyncio.sleep(0.001)
            fired.append(number)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 20))
    finally:
        ended.set()
        thread.join()
    assert len(fired) == 20
    assert sent > 0


def test_a_loop_closed_under_a_flood_refuses(loop: asyncio.AbstractEventLoop) -> None:
    errors: list[Any] = []
    begun = threading.Event()

    def flood() -> None:
        try:
            while True:
                loop.call_soon_threadsafe(int)
                begun.set()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=flood)
    loop.call_soon(thread.start)
    loop.call_soon(begun.wait, 20)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    thread.join()
    assert str(errors[0]) == "Event loop is closed"
