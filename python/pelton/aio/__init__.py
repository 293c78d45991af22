"""asyncio's primitives, compiled: the same names and semantics, on any asyncio loop."""

from __future__ import annotations

__all__: list[str] = []
