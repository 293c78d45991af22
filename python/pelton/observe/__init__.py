"""What the event loop measures about itself, always: see inside a running program.

- `loop_stats`: lag, utilisation, queue depths, open connections
- `callbacks`: where the loop's time goes, by name
- `stalls`: callbacks that held the loop too long, with the stack that shows why
- `tasks`, `format_tasks`: which tasks there are, and who awaits whom
"""

from __future__ import annotations

from pelton.observe.callbacks import CallbackTime, callbacks
from pelton.observe.loop_stats import LoopStats, loop_stats
from pelton.observe.stall import Stall, clear_stalls, set_stall_limit, stall_limit, stalls
from pelton.observe.tasks import TaskInfo, format_tasks, tasks

__all__ = [
    "CallbackTime",
    "LoopStats",
    "Stall",
    "TaskInfo",
    "callbacks",
    "clear_stalls",
    "format_tasks",
    "loop_stats",
    "set_stall_limit",
    "stall_limit",
    "stalls",
    "tasks",
]
