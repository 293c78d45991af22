"""`callbacks`: which callbacks a loop's time goes to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pelton.observe.loop_stats import pelton_loop

__all__ = ["CallbackTime", "callbacks"]


@dataclass(frozen=True, slots=True)
class CallbackTime:
    """The callbacks of one name: estimates each sample stands for its neighbours."""

    name: str
    """The function, or the coroutine whose task it steps, with file and line; the protocol's type
    for what a socket's data starts."""
    count: int
    """Callbacks run, about."""
    time: float
    """Seconds they took together, about."""
    longest: float
    """Seconds that the longest one met took."""


def callbacks(loop: asyncio.AbstractEventLoop | None = None) -> list[CallbackTime]:
    """Where the time of `loop` went since it was made, by default of the running one; most first.

    Short callbacks are sampled, one in 512 or more often, so that counting costs less than a
    hundredth of the loop's time; long ones are all counted. At most 512 names are told apart.

    Raises TypeError for a loop that is not Pelton's, RuntimeError without a running loop.
    """
    found = [CallbackTime(**entry) for entry in pelton_loop(loop, "callbacks")._callback_times()]
    return sorted(found, key=lambda entry: entry.time, reverse=True)
