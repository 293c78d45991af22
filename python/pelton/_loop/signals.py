"""Signals: who is told of them, and that they end a loop's wait."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any


class SignalsMixin:
    """Keeps the interpreter's wakeup descriptor where the signals are waited for."""

    _csock: socket.socket | None
    _signal_handlers: dict[int, Any]

    def remove_signal_handler(self, sig: int) -> bool:
        """Give the signal its default meaning again. False: it had no handler here."""
        removed: bool = super().remove_signal_handler(sig)  # type: ignore[misc]
        if removed and not self._signal_handlers:
            # asyncio's own took the descriptor away, on which the running loop's wait depends.
            _claim(self._csock)
        return removed

    @contextlib.contextmanager
    def _signals_wake(self) -> Iterator[None]:
        """While the loop runs, a signal ends its wait, even one that comes just before it.

        What has the descriptor already keeps it: another loop's handlers, say.
        """
        claimed = threading.current_thread() is threading.main_thread() and _claim(self._csock)
        try:
            yield
        finally:
            # Handlers stay between two runs, and what comes there is told in the next.
            if claimed and not self._signal_handlers:
                _release(self._csock)


def _claim(end: socket.socket | None) -> bool:
    """Have signals written to `end`, unless they are written elsewhere. True: they are."""
    if end is None or end.fileno() < 0:  # the loop is closed
        return False
    previous = signal.set_wakeup_fd(end.fileno(), warn_on_full_buffer=False)
    if previous not in (-1, end.fileno()):
        signal.set_wakeup_fd(previous)
        return False
    return True


def _release(end: socket.socket | None) -> None:
    current = signal.set_wakeup_fd(-1)
    if current != -1 and (end is None or current != end.fileno()):
        signal.set_wakeup_fd(current)  # someone else's by now


def _forget_in_child() -> None:
    # A signal of the child is none of the parent's. (asyncio itself does this from 3.12 on.)
    signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget_in_child)
