"""Puts pelton.aio's primitives where asyncio has its own."""

from __future__ import annotations

import asyncio
import importlib

import pelton.aio

#: Where asyncio keeps its primitives beside `asyncio` itself.
MODULES = ("locks", "queues", "runners", "staggered", "streams", "taskgroups", "tasks", "timeouts")


def swap() -> None:
    """From here on, whoever asks asyncio for a primitive gets ours, as far as we have it."""
    modules = [asyncio, *(importlib.import_module(f"asyncio.{name}") for name in MODULES)]
    for name in pelton.aio.__all__:
        ours = getattr(pelton.aio, name)
        for module in modules:
            if hasattr(module, name):
                setattr(module, name, ours)
    if asyncio.Queue is not pelton.aio.Queue:
        raise RuntimeError("asyncio.Queue is still asyncio's")
