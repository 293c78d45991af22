"""`call_soon` and its handles, errors, and threads."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading
import weakref
from typing import Any

import pytest

import pelton

var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


def run_turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


@pytest.mark.parametrize("count", range(7))
def test_arguments_arrive_whole_and_in_order(loop: asyncio.AbstractEventLoop, count: int) -> None:
    got: list[tuple[Any, ...]] = []
    loop.call_soon(lambda *args: got.append(args), *range(count))
    run_turn(loop)
    assert got == [tuple(range(count))]


def test_callbacks_run_in_the_order_they_were_given(loop: asyncio.AbstractEventLoop) -> None:
    got: list[int] = []
    for n in range(100):
        (loop.call_soon if n % 2 else loop.call_soon_threadsafe)(got.append, n)
    run_turn(loop)
    assert got == list(range(100))


def test_what_a_callback_adds_runs_in_the_next_turn(loop: asyncio.AbstractEventLoop) -> None:
    got: list[str] = []

    def first() -> None:
        got.append("first")
        loop.call_soon(got.append, "later")

    loop.call_soon(first)
    loop.call_soon(got.append, "second")
    run_turn(loop)
    assert got == ["first", "second"]
    run_turn(loop)
    assert got == ["first", "second", "later"]


def test_context_is_the_callers_or_the_given_one(loop: asyncio.AbstractEventLoop) -> None:
    got: list[str] = []
    var.set("caller")
    loop.call_soon(lambda: got.append(var.get()))
    other = contextvars.copy_context()
    other.run(var.set, "given")
    handle = loop.call_soon(lambda: got.append(var.get()), context=other)
    if hasattr(handle, "get_context"):  # asyncio has it from 3.12 on
        assert handle.get_context() is other
    var.set("after")
    run_turn(loop)
    assert got == ["caller", "given"]


def test_cancelled_callback_does_not_run_and_lets_go(loop: asyncio.AbstractEventLoop) -> None:
    class Argument:
        pass

    argument = Argument()
    alive = weakref.ref(argument)
    handle = loop.call_soon(lambda _: pytest.fail("cancelled too late"), argument)
    del argument
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    assert alive() is None
    assert "cancelled" in repr(handle)
    run_turn(loop)


def test_a_callback_may_cancel_itself_and_the_next(loop: asyncio.AbstractEventLoop) -> None:
    handles: list[asyncio.Handle] = []
    got: list[object] = []

    def cancel_both(argument: object) -> None:
        for handle in handles:
            handle.cancel()
        got.append(argument)

    handles.append(loop.call_soon(cancel_both, ["kept"]))
    handles.append(loop.call_soon(pytest.fail, "cancelled too late"))
    run_turn(loop)
    assert got == [["kept"]]


def test_handles_are_asyncios_by_isinstance(loop: asyncio.AbstractEventLoop) -> None:
    soon, later = loop.call_soon(print), loop.call_later(60, print)
    assert isinstance(soon, asyncio.Handle)
    assert not isinstance(soon, asyncio.TimerHandle)
    assert isinstance(later, asyncio.TimerHandle)
    assert "print" in repr(soon)
    assert repr(later).startswith("<TimerHandle when=")
    assert weakref.ref(soon)() is soon
    soon.cancel()
    later.cancel()


def test_handle_in_a_cycle_is_collected(loop: asyncio.AbstractEventLoop) -> None:
    class Owner:
        def __init__(self) -> None:
            self.handle = loop.call_soon(self.called)

        def called(self) -> None:
            pass

    owner = Owner()
    alive = weakref.ref(owner)
    run_turn(loop)
    del owner
    gc.collect()
    assert alive() is None


def test_error_reaches_the_exception_handler(loop: asyncio.AbstractEventLoop) -> None:
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    got: list[int] = []
    handle = loop.call_soon(lambda: 1 // 0)
    loop.call_soon(got.append, 1)
    run_turn(loop)
    assert got == [1]
    [context] = contexts
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["handle"] is handle
    assert context["message"].startswith("Exception in callback")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupts_leave_run_forever(
    loop: asyncio.AbstractEventLoop, error: type[BaseException]
) -> None:
    def interrupt() -> None:
        raise error

    got: list[int] = []
    loop.call_soon(interrupt)
    loop.call_soon(got.append, 1)
    with pytest.raises(error):
        loop.run_forever()
    assert not loop.is_running()
    run_turn(loop)
    assert got == [1]


def test_another_thread_wakes_a_waiting_loop(loop: asyncio.AbstractEventLoop) -> None:
    def work() -> None:
        for n in range(1000):
            loop.call_soon_threadsafe(got.append, n)
        loop.call_soon_threadsafe(loop.stop)

    got: list[int] = []
    thread = threading.Thread(target=work)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert got == list(range(1000))


def test_closed_loop_refuses(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    assert loop.is_closed()
    for call in (
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.call_later(1, print),
        loop.run_forever,
    ):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            call()


def test_running_loop_cannot_run_again(our_loop: pelton.Loop) -> None:
    loop = our_loop  # asyncio's in 3.13.0 takes itself for stopped afterwards

    async def main() -> None:
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_forever()
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()

    loop.run_until_complete(main())


def test_stop_before_run_gives_one_turn(loop: asyncio.AbstractEventLoop) -> None:
    got: list[int] = []
    loop.call_soon(got.append, 1)
    loop.stop()
    loop.run_forever()
    assert got == [1]


def test_wrong_arguments_are_named(our_loop: pelton.Loop) -> None:
    with pytest.raises(TypeError, match="call_soon"):
        our_loop.call_soon()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'key'"):
        our_loop.call_soon(print, key=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"contextvars\.Context"):
        our_loop.call_soon(print, context=1)  # type: ignore[arg-type]


def test_debug_mode_checks_thread_and_callback(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)
    assert loop.get_debug()
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            loop.call_soon(print)
        except RuntimeError as error:
            errors.append(error)

    async def main() -> None:
        await loop.run_in_executor(None, elsewhere)
        handle = loop.call_soon(lambda: None)
        assert "created at" in repr(handle)

    loop.run_until_complete(main())
    assert "Non-thread-safe operation" in str(errors[0])

    async def coroutine() -> None:
        pass

    with pytest.raises(TypeError, match="coroutines cannot be used"):
        loop.call_soon(coroutine)


def test_debug_mode_logs_slow_callbacks(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        loop.call_soon(sum, ())
        run_turn(loop)
    assert any("sum(())" in text and "seconds" in text for text in caplog.messages)


def test_loop_is_weakly_referenceable_and_collected() -> None:
    loop = pelton.new_event_loop()
    loop.call_soon(loop.stop)
    loop.call_later(60, print, loop)
    alive = weakref.ref(loop)
    loop.close()
    del loop
    gc.collect()
    assert alive() is None


def test_arguments_by_name(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []
    loop.call_soon(callback=lambda: ran.append("soon"))
    loop.call_soon_threadsafe(callback=lambda: ran.append("threadsafe"))
    loop.call_later(delay=0, callback=lambda: ran.append("later"))
    loop.call_at(when=0, callback=lambda: ran.append("at"))
    loop.call_later(0, callback=loop.stop)
    loop.run_forever()
    assert sorted(ran) == ["at", "later", "soon", "threadsafe"]


def test_arguments_that_do_not_fit(loop: asyncio.AbstractEventLoop) -> None:
    call: Any = loop.call_soon
    for arguments, names in (
        ((print,), {"callback": print}),
        ((), {"call": print}),
        ((), {}),
        ((), {"context": None}),
    ):
        with pytest.raises(TypeError):
            call(*arguments, **names)
    later: Any = loop.call_later
    for arguments, names in (
        ((1,), {"delay": 1, "callback": print}),
        ((), {"callback": print}),
        ((1, print, 2), {"callback": print}),
    ):
        with pytest.raises(TypeError):
            later(*arguments, **names)
