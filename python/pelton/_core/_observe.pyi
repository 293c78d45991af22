"""Stalls of the loop, and the watchdog that finds them."""

from __future__ import annotations

from typing import Any

def stalls() -> list[dict[str, Any]]:
    """The newest stalls, oldest first; see `pelton.observe.stalls`."""

def clear_stalls() -> None:
    """Forget all stalls."""

def stall_limit() -> float | None:
    """The limit in seconds, or None when nobody watches."""

def set_stall_limit(seconds: float | None) -> None:
    """Set the limit; None ends the watch. ValueError for less than a millisecond."""

def pause_watchdog() -> None:
    """End the watchdog's thread; a busy loop starts it again."""

def forget_watched() -> None:
    """After a fork, in the child: the parent's loops do not run here."""
