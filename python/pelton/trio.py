"""Unmodified Trio programs on Pelton's loop, by Trio's guest mode.

Trio is not a dependency: `pip install trio`, or `pelton[trio]`.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from pelton._loop import Loop, new_event_loop

__all__ = ["run"]

T = TypeVar("T")


def run(
    main: Callable[..., Awaitable[T]],
    *args: Any,
    clock: Any = None,
    instruments: Sequence[Any] = (),
    restrict_keyboard_interrupt_to_checkpoints: bool = False,
    strict_exception_groups: bool = True,
) -> T:
    """Run `await main(*args)` under Trio on a new `pelton.Loop`; arguments as of `trio.run`.

    Returns, or raises, what `main` does, KeyboardInterrupt included. asyncio's API works in it too,
    beside Trio's: the loop is the running one. A `clock` rules Trio's time, not the loop's. Trio's
    waits are the loop's, without a thread, where Trio's internals are those known here; else by
    Trio's public API and its helper thread. RuntimeError inside a running loop or Trio program;
    ImportError if Trio is not installed.
    """
    trio = _import_trio()
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("pelton.trio.run() cannot be called from inside a running event loop")
    guest = _Guest(trio)
    options = {
        "clock": clock,
        "instruments": instruments,
        "restrict_keyboard_interrupt_to_checkpoints": restrict_keyboard_interrupt_to_checkpoints,
        "strict_exception_groups": strict_exception_groups,
    }
    try:
        asyncio.set_event_loop(guest.loop)
        # In a running loop: Trio keeps the loop's hooks for async generators that are not Trio's.
        guest.loop.call_soon(guest.start, main, args, options)
        guest.loop.run_forever()
        result: T = guest.result()
        return result
    finally:
        guest.close()


def _import_trio() -> Any:
    try:
        return importlib.import_module("trio")
    except ImportError as error:
        raise ImportError("pelton.trio needs Trio: pip install trio", name="trio") from error


class _Guest:
    """One Trio program, from its start to its outcome, on a loop of its own."""

    def __init__(self, trio: Any) -> None:
        self.loop: Loop = new_event_loop()
        self._trio = trio
        self._outcome: Any = None
        self._failure: BaseException | None = None
        self._waits: _Waits | None = None

    def start(self, main: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Hand the program to Trio; to be called in the running loop."""
        try:
            self._trio.lowlevel.start_guest_run(
                main,
                *args,
                run_sync_soon_threadsafe=self.loop.call_soon_threadsafe,
                run_sync_soon_not_threadsafe=self._soon,
                # While it runs, the loop wakes by set_wakeup_fd; Trio's signals wake by its own.
                host_uses_signal_set_wakeup_fd=True,
                done_callback=self._done,
                **options,
            )
        except BaseException as error:
            self._failure = error
            self.loop.stop()

    def result(self) -> Any:
        """What the program returned, or raised."""
        if self._failure is not None:
            raise self._failure
        return self._outcome.unwrap()

    def close(self) -> None:
        """End what runs on the loop beside Trio, and the loop."""
        try:
            if self._waits is not None:
                self._waits.close()
            rest = asyncio.all_tasks(self.loop)
            for task in rest:
                task.cancel()
            if rest:
                self.loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()

    def _soon(self, call: Callable[[], object]) -> None:
        # The first call is that of the guest's tick, from which its state is known.
        if self._waits is None and self._outcome is None:
            self._waits = _Waits.of(call, self.loop, self._trio)
        self.loop.call_soon(call if self._waits is None else self._waits.instead_of(call))

    def _done(self, outcome: Any) -> None:
        self._outcome = outcome
        self.loop.stop()


class _Waits:
    """Trio's ticks with its waits done by our loop: Trio's own way parks a thread in each.

    Trio waits by an epoll or kqueue object, whose descriptor is ready as soon as anything in it is.
    It is watched here, and a timer ends the wait at the timeout that Trio asks for.
    """

    def __init__(self, state: Any, poll_fd: int, loop: Loop, trio: Any) -> None:
        self._state = state
        self._runner = state.runner
        self._loop = loop
        self._poll_fd = poll_fd
        self._outcome = importlib.import_module("outcome")
        self._sniffio = importlib.import_module("sniffio").thread_local
        self._internal_error: type[BaseException] = trio.TrioInternalError
        self._waiting = False
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(poll_fd, self._ready)

    @classmethod
    def of(cls, tick: Any, loop: Loop, trio: Any) -> _Waits | None:
        """For the state whose `guest_tick` this is; None where Trio is not as it is known here."""
        state = getattr(tick, "__self__", None)
        manager = getattr(getattr(state, "runner", None), "io_manager", None)
        poll = getattr(manager, "_epoll", None) or getattr(manager, "_kqueue", None)
        known = ("unrolled_run_gen", "unrolled_run_next_send", "guest_tick", "done_callback")
        if poll is None or not all(hasattr(state, name) for name in known):
            return None
        return cls(state, poll.fileno(), loop, trio)

    def instead_of(self, call: Callable[[], object]) -> Callable[[], object]:
        """Our tick for Trio's; anything else as it is."""
        return self.tick if call == self._state.guest_tick else call

    def tick(self) -> None:
        """One turn of Trio's scheduler, and the arrangement of the next."""
        state = self._state
        library, self._sniffio.name = self._sniffio.name, "trio"
        try:
            timeout = state.unrolled_run_next_send.send(state.unrolled_run_gen)
        except StopIteration:
            self.close()
            state.done_callback(self._runner.main_task_outcome)
            return
        except self._internal_error as error:
            self.close()
            state.done_callback(self._outcome.Error(error))
            return
        finally:
            self._sniffio.name = library
        events = self._events()
        if timeout <= 0 or isinstance(events, self._outcome.Error) or events.value:
            self._go_on(events)
        else:
            self._runner.guest_tick_scheduled = False
            self._waiting = True
            self._timer = self._loop.call_later(timeout, self._timed_out)

    def close(self) -> None:
        """Watch no more."""
        if self._poll_fd >= 0:
            self._loop.remove_reader(self._poll_fd)
            self._poll_fd = -1
        self._waiting = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ready(self) -> None:
        if not self._waiting:
            return  # a tick is on its way, and asks for events itself
        events = self._events()
        if isinstance(events, self._outcome.Error) or events.value:
            self._end_wait(events)

    def _timed_out(self) -> None:
        self._end_wait(self._events())

    def _end_wait(self, events: Any) -> None:
        self._waiting = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._runner.guest_tick_scheduled = True
        self._state.unrolled_run_next_send = events
        self.tick()

    def _go_on(self, events: Any) -> None:
        self._state.unrolled_run_next_send = events
        self._runner.guest_tick_scheduled = True
        self._loop.call_soon(self.tick)

    def _events(self) -> Any:
        return self._outcome.capture(self._runner.io_manager.get_events, 0)
