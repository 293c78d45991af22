"""asyncio's primitives, compiled: the same names and semantics, on any asyncio loop."""

from __future__ import annotations

from pelton._core import sleep
from pelton._nursery.channel import open_memory_channel as channel

__all__ = [
    "channel",
    "sleep",
]
