"""What the event loop measures about itself, always."""

from __future__ import annotations

from pelton.observe.loop_stats import LoopStats, loop_stats

__all__ = ["LoopStats", "loop_stats"]
