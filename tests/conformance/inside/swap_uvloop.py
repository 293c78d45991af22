"""Puts pelton's loop where uvloop has its own, for uvloop's tests and the programs they start; or
asyncio's, to see what its tests want of uvloop alone.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Swapper(MetaPathFinder):
    """Swaps uvloop's loop once uvloop is imported, and not before: most children never do."""

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """uvloop's own spec, with what swaps put after its execution."""
        if fullname != "uvloop":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("uvloop")
        assert spec is not None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            replace(module)

        loader.exec_module = exec_module
        return spec


def replace(uvloop: Any) -> None:
    """`uvloop.Loop`, its factories and its policy become others'; `uvloop.run` makes such loops."""
    if os.environ["PELTON_LOOP"] == "asyncio":
        loop, policy = asyncio.SelectorEventLoop, asyncio.DefaultEventLoopPolicy
        replace_by(uvloop, loop, loop, policy)
    else:
        import pelton

        replace_by(uvloop, pelton.Loop, pelton.new_event_loop, pelton.EventLoopPolicy)


def replace_by(uvloop: Any, loop: Any, factory: Any, policy: Any) -> None:
    """Puts these in the place of uvloop's."""
    uvloop.Loop = loop
    uvloop.new_event_loop = factory
    uvloop.run.__kwdefaults__["loop_factory"] = factory
    uvloop.EventLoopPolicy = policy
    uvloop.install = lambda: asyncio.set_event_loop_policy(policy())


def swap() -> None:
    """Takes effect when uvloop is imported."""
    sys.meta_path.insert(0, Swapper())  # type: ignore[arg-type]
