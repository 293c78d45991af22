"""Pelton: one engine for asynchronous Python backends."""

from pelton import from_thread, to_process, to_thread
from pelton._core import __version__
from pelton._loop import EventLoopPolicy, Loop, install, new_event_loop, run
from pelton._nursery.channel import (
    MemoryChannelStatistics,
    MemoryReceiveChannel,
    MemorySendChannel,
    open_memory_channel,
)
from pelton._nursery.checkpoint import checkpoint
from pelton._nursery.errors import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfChannel,
    WouldBlock,
)
from pelton._nursery.limiter import CapacityLimiter, CapacityLimiterStatistics
from pelton._nursery.nursery import TASK_STATUS_IGNORED, Nursery, TaskStatus, open_nursery
from pelton._nursery.scope import (
    CancelScope,
    current_effective_deadline,
    current_time,
    fail_after,
    fail_at,
    move_on_after,
    move_on_at,
    shield,
)

__all__ = [
    "TASK_STATUS_IGNORED",
    "BrokenResourceError",
    "CancelScope",
    "CapacityLimiter",
    "CapacityLimiterStatistics",
    "ClosedResourceError",
    "EndOfChannel",
    "EventLoopPolicy",
    "Loop",
    "MemoryChannelStatistics",
    "MemoryReceiveChannel",
    "MemorySendChannel",
    "Nursery",
    "TaskStatus",
    "WouldBlock",
    "__version__",
    "checkpoint",
    "current_effective_deadline",
    "current_time",
    "fail_after",
    "fail_at",
    "from_thread",
    "install",
    "move_on_after",
    "move_on_at",
    "new_event_loop",
    "open_memory_channel",
    "open_nursery",
    "run",
    "shield",
    "to_process",
    "to_thread",
]
