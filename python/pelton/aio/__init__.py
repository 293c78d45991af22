"""asyncio's primitives, compiled: the same names and semantics, on any asyncio loop."""

from __future__ import annotations

from pelton._core import sleep

__all__ = [
    "sleep",
]
