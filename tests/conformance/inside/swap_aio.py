"""Puts pelton.aio's names where asyncio has its own."""

from __future__ import annotations

import asyncio
import sys

import pelton.aio


def swap() -> None:
    """From here on, who asks asyncio for one of the names gets ours.

    A module of asyncio that uses one of its own names gets ours too.
    """
    modules = [
        module
        for name, module in sys.modules.items()
        if name == "asyncio" or name.startswith("asyncio.")
    ]
    for name in pelton.aio.__all__:
        ours, theirs = getattr(pelton.aio, name), getattr(asyncio, name, None)
        if theirs is None or ours is theirs:
            continue  # of a later version than this, or a constant
        for module in modules:
            if getattr(module, name, None) is theirs:
                setattr(module, name, ours)
        if getattr(asyncio, name) is not ours:
            sys.exit(f"asyncio.{name} is still asyncio's")  # an exception would be swallowed here
