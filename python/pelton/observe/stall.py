"""`Stall`: a callback that held its loop too long, with the stack that shows why."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from pelton import _core

__all__ = ["Stall", "clear_stalls", "set_stall_limit", "stall_limit", "stalls"]


@dataclass(frozen=True, slots=True)
class Stall:
    """One callback (a task's step, most often) that held the loop past the limit.

    A thread that needs no GIL watches every running loop. Past the limit it takes the stack of the
    loop's thread: with the GIL where that can be had within 50 ms, else by a SIGURG whose handler
    writes the stack, so that C code that keeps the GIL is found too.
    """

    began: float
    """When it was first seen, as `time.time()` counts: up to a quarter of the limit late."""
    duration: float
    """Seconds it was seen to last: up to a quarter of the limit short."""
    cpu: float
    """Of these, seconds of processor time: near `duration` for computation, near 0 for a blocking
    call or a wait for the GIL. Always 0 where the system does not tell (macOS)."""
    ongoing: bool
    """It has not ended yet."""
    gil_held: bool
    """No other thread could have the GIL meanwhile."""
    task: str | None
    """The name of the task whose step it was; None outside tasks, and where the GIL was held."""
    thread: int
    """The loop's thread, as `threading.get_ident()` names it."""
    stack: tuple[traceback.FrameSummary, ...]
    """Where the loop's thread was at the limit, innermost call last."""

    def __str__(self) -> str:
        """What the log says of it."""
        lines = "".join(traceback.format_list(list(self.stack)))
        state = "is held" if self.ongoing else "was held"
        return f"The event loop {state} for {self.duration:.3f} s by one callback\n{lines}"


def stalls() -> list[Stall]:
    """The newest stalls of this process, oldest first: at most 128.

    Each is also logged by the logger `pelton.stalls` when it is noticed, the same stack once a
    minute at most.
    """
    return [
        Stall(
            stack=tuple(
                traceback.FrameSummary(file, line, function, lookup_line=False)
                for file, line, function in found.pop("stack")
            ),
            **found,
        )
        for found in _core.stalls()
    ]


def clear_stalls() -> None:
    """Forget the stalls of the past."""
    _core.clear_stalls()


def stall_limit() -> float | None:
    """Seconds that a callback may hold a loop; None when nobody watches."""
    return _core.stall_limit()


def set_stall_limit(seconds: float | None) -> None:
    """Set how long a callback may hold any loop of this process; None ends the watch.

    The default is 0.2 s, or the number of seconds in the environment variable
    `PELTON_STALL_LIMIT` (0: no watch). Raises ValueError for less than a millisecond.
    """
    _core.set_stall_limit(seconds)
