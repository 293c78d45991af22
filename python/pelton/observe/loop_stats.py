"""`loop_stats`: counters of one event loop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pelton._loop import Loop

__all__ = ["LoopStats", "loop_stats"]


@dataclass(frozen=True, slots=True)
class LoopStats:
    """Counters of one loop. Totals count since the loop was made; take differences for rates.

    Times are seconds. A histogram's bucket `n` counts durations below 2**n microseconds that are
    in no earlier bucket; the last one also counts all longer ones.
    """

    turns: int
    callbacks: int
    """Callbacks run, those of timers included."""
    events: int
    """Readiness events taken from the kernel."""
    polls: int
    """Times the kernel was asked for events."""
    running: float
    """Time the loop ran, waiting included."""
    parked: float
    """Of that, time it waited for something to do."""
    ready: int
    """Callbacks that wait for their turn now."""
    ready_max: int
    """The most there were at once since the last call of `loop_stats`."""
    transports: int
    """Connections open now."""
    timers: int
    """Timers set, with some that were cancelled."""
    turn_max: float
    """The longest turn since the last call: how long an event may have waited."""
    lag_max: float
    """The longest a timer was late since the last call."""
    turn_time: list[int]
    """Histogram of the turns' durations, waiting not included."""
    timer_lag: list[int]
    """Histogram of how late timers ran."""

    @property
    def utilisation(self) -> float:
        """The part of its time that the loop had work to do: 0 to 1."""
        return 1.0 - self.parked / self.running if self.running else 0.0


def loop_stats(loop: asyncio.AbstractEventLoop | None = None) -> LoopStats:
    """The counters of `loop`, by default the running one. It takes a few microseconds.

    Raises TypeError for a loop that is not Pelton's, RuntimeError without a running loop.
    """
    return LoopStats(**pelton_loop(loop, "loop_stats")._stats())


def pelton_loop(loop: asyncio.AbstractEventLoop | None, asker: str) -> Loop:
    """`loop`, or the running one, if it is Pelton's; TypeError in the name of `asker` if not."""
    if loop is None:
        loop = asyncio.get_running_loop()
    if not isinstance(loop, Loop):
        raise TypeError(
            f"{asker}() reads Pelton's event loop, not {type(loop).__name__}: "
            "run the program with pelton.run() or call pelton.install() first"
        )
    return loop
