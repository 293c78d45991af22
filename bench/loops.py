"""The event loops that are measured, by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module

# asyncio's own on this system; the others by the module that has `new_event_loop`.
MODULES = {"pelton": "pelton", "asyncio": "asyncio", "uvloop": "uvloop", "rloop": "rloop"}
NAMES = tuple(MODULES)


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """The function that makes a loop of this name."""
    factory: Callable[[], asyncio.AbstractEventLoop] = import_module(MODULES[name]).new_event_loop
    return factory
