"""`call_later` and `call_at`."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

import pytest

import pelton


def test_timers_run_by_time_and_then_by_order(our_loop: pelton.Loop) -> None:
    got: list[str] = []
    now = our_loop.time()
    our_loop.call_at(now + 0.002, got.append, "c")
    our_loop.call_at(now + 0.001, got.append, "a")
    our_loop.call_at(now + 0.001, got.append, "b")
    our_loop.call_at(now + 0.003, our_loop.stop)
    our_loop.run_forever()
    assert got == ["a", "b", "c"]


@pytest.mark.parametrize("delay", [0, -1, -math.inf, 1e-9])
def test_a_due_timer_never_waits(loop: asyncio.AbstractEventLoop, delay: float) -> None:
    # Nothing else would wake the loop: a wait here has no end.
    loop.call_later(delay, loop.stop)
    loop.run_forever()


def test_infinite_and_huge_delays_wait(loop: asyncio.AbstractEventLoop) -> None:
    handles = [loop.call_later(delay, pytest.fail) for delay in (1e9, 1e300)]
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    for handle in handles:
        handle.cancel()


def test_times_are_kept_exactly(loop: asyncio.AbstractEventLoop) -> None:
    when = loop.time() + 3600.123456789
    handle = loop.call_at(when, print)
    assert handle.when() == when
    assert hash(handle) == hash(when)
    later = loop.call_at(when + 1, print)
    assert handle < later
    assert handle <= later
    assert later > handle
    assert handle != later
    handle.cancel()
    later.cancel()


def test_time_is_the_monotonic_clock(loop: asyncio.AbstractEventLoop) -> None:
    before = time.monotonic()
    now = loop.time()
    assert before <= now <= time.monotonic()


def test_no_timer_is_early(loop: asyncio.AbstractEventLoop) -> None:
    early: list[float] = []

    def check(when: float) -> None:
        # asyncio lets a timer run within its clock's resolution.
        if loop.time() < when - 1e-6:
            early.append(when - loop.time())

    now = loop.time()
    for n in range(50):
        loop.call_at(now + n / 5000, check, now + n / 5000)
    loop.call_at(now + 0.0101, loop.stop)
    loop.run_forever()
    assert early == []


def test_many_cancelled_timers_leave_the_heap(our_loop: pelton.Loop) -> None:
    from pelton.observe import loop_stats

    for _ in range(10_000):
        our_loop.call_later(3600, pytest.fail).cancel()
    assert loop_stats(our_loop).timers < 1000
    kept = our_loop.call_later(0, our_loop.stop)
    our_loop.run_forever()
    assert not kept.cancelled()


def test_cancel_after_run_and_within_it(loop: asyncio.AbstractEventLoop) -> None:
    def cancel_itself() -> None:
        handle.cancel()
        loop.stop()

    handle = loop.call_later(0, cancel_itself)
    loop.run_forever()
    handle.cancel()
    assert handle.cancelled()


@pytest.mark.parametrize("name", ["call_later", "call_at"])
def test_none_is_refused(loop: asyncio.AbstractEventLoop, name: str) -> None:
    call: Callable[..., object] = getattr(loop, name)
    with pytest.raises(TypeError, match="None"):
        call(None, print)


def test_timers_run_while_callbacks_keep_coming(loop: asyncio.AbstractEventLoop) -> None:
    def again() -> None:
        loop.call_soon(again)

    loop.call_soon(again)
    loop.call_later(0.005, loop.stop)
    loop.run_forever()


def test_when_is_what_was_given(loop: asyncio.AbstractEventLoop) -> None:
    whole, exact = loop.call_at(7, print), loop.call_at(7.5, print)
    relative = loop.call_later(1, print)
    assert (whole.when(), type(whole.when())) == (7, int)
    assert exact.when() == 7.5
    assert isinstance(relative.when(), float)
    for handle in (whole, exact, relative):
        handle.cancel()
