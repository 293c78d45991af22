"""Callbacks and contextvars: each sees what was current when it was scheduled."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import socket
import threading
import weakref
from typing import Any

import pytest

var: contextvars.ContextVar[Any] = contextvars.ContextVar("var", default="unset")


def run_turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def in_new_context(function: Any, *args: Any) -> Any:
    return contextvars.Context().run(function, *args)


def test_each_callback_sees_what_was_current_when_it_was_scheduled(
    loop: asyncio.AbstractEventLoop,
) -> None:
    got: list[Any] = []

    def schedule() -> None:
        for value in range(5):
            var.set(value)
            loop.call_soon(lambda: got.append(var.get()))
            loop.call_soon_threadsafe(lambda: got.append(var.get()))
        var.set("later")

    in_new_context(schedule)
    run_turn(loop)
    assert got == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_what_a_callback_sets_is_its_own(loop: asyncio.AbstractEventLoop) -> None:
    got: list[Any] = []

    def change(value: int) -> None:
        got.append(var.get())
        var.set(value)
        got.append(var.get())

    def main() -> None:
        var.set("main")
        for value in range(3):
            loop.call_soon(change, value)
        run_turn(loop)
        got.append(var.get())

    in_new_context(main)
    assert got == ["main", 0, "main", 1, "main", 2, "main"]


def test_what_a_callback_schedules_inherits_its_changes(loop: asyncio.AbstractEventLoop) -> None:
    got: list[Any] = []

    def first() -> None:
        var.set("first")
        loop.call_soon(second)
        var.set("not for second")

    def second() -> None:
        got.append(var.get())
        loop.call_later(0, third)

    def third() -> None:
        got.append(var.get())
        loop.stop()

    loop.call_soon(first)
    loop.run_forever()
    assert got == ["first", "first"]


def test_a_token_belongs_to_its_callback_alone(loop: asyncio.AbstractEventLoop) -> None:
    tokens: list[contextvars.Token[Any]] = []
    errors: list[ValueError] = []

    def other() -> None:
        try:
            var.reset(tokens[0])
        except ValueError as error:
            errors.append(error)

    loop.call_soon(lambda: tokens.append(var.set(1)))
    loop.call_soon(other)
    run_turn(loop)
    assert "different Context" in str(errors[0])


def test_a_thread_sends_its_own_context(loop: asyncio.AbstractEventLoop) -> None:
    got: list[Any] = []

    def work() -> None:
        loop.call_soon_threadsafe(lambda: got.append(var.get()))
        var.set("thread")
        loop.call_soon_threadsafe(lambda: got.append(var.get()))

    async def main() -> None:
        var.set("loop")
        await asyncio.to_thread(var.get)  # a worker that was started before
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert got == ["unset", "thread"]


def test_values_live_as_long_as_the_callback(loop: asyncio.AbstractEventLoop) -> None:
    class Value:
        pass

    alive: list[weakref.ref[Value]] = []

    def hold() -> None:
        value = Value()
        alive.append(weakref.ref(value))
        var.set(value)
        loop.call_soon(lambda: None)

    in_new_context(hold)
    assert alive[0]() is not None
    run_turn(loop)
    gc.collect()
    assert alive[0]() is None


def test_the_handles_context_is_the_one_its_callback_runs_in(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[Any] = []

    def change() -> None:
        seen.append(handle._context)
        var.set("changed")

    handle = in_new_context(loop.call_soon, change)
    before = handle._context
    assert before is handle._context
    run_turn(loop)
    assert seen == [before]
    assert before[var] == "changed"


def test_a_handle_asked_first_while_it_runs(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[contextvars.Context] = []

    def change() -> None:
        seen.append(handle._context)
        var.set("changed")

    handle = in_new_context(loop.call_soon, change)
    run_turn(loop)
    assert seen[0][var] == "changed"
    assert handle._context is seen[0]


def test_a_reader_keeps_its_context_from_run_to_run(loop: asyncio.AbstractEventLoop) -> None:
    left, right = socket.socketpair()
    got: list[Any] = []

    def ready() -> None:
        left.recv(1)
        got.append(var.get())
        var.set(len(got))
        if len(got) == 3:
            loop.remove_reader(left)
            loop.stop()

    with left, right:
        right.send(b"xyz")
        in_new_context(loop.add_reader, left, ready)
        loop.run_forever()
    assert got == ["unset", 1, 2]


def test_a_failed_callbacks_context_can_be_asked_for(loop: asyncio.AbstractEventLoop) -> None:
    got: list[Any] = []
    loop.set_exception_handler(
        lambda _, context: got.append(context["handle"]._context.get(var, "nothing"))
    )

    def fail() -> None:
        var.set("failed")
        raise ValueError

    in_new_context(loop.call_soon, fail)
    run_turn(loop)
    assert got == ["failed"]


def test_a_given_context_is_used_itself(loop: asyncio.AbstractEventLoop) -> None:
    context = contextvars.copy_context()
    loop.call_soon(var.set, "given", context=context)
    run_turn(loop)
    assert context[var] == "given"


def test_an_entered_context_cannot_run_a_callback(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    context = contextvars.Context()
    loop.call_soon(pytest.fail, "must not run", context=context)
    context.run(run_turn, loop)
    # From 3.12 on the handler is to run in the callback's context, too, so only the log is told.
    assert "already entered" in str(errors) + caplog.text
