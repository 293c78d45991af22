"""Puts pelton's loop where uvloop has its own, for uvloop's tests and the programs they start."""

from __future__ import annotations

import importlib.util
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
    """`uvloop.Loop`, its factories and its policy become ours; `uvloop.run` makes such loops."""
    import pelton

    uvloop.Loop = pelton.Loop
    uvloop.new_event_loop = pelton.new_event_loop
    uvloop.run.__kwdefaults__["loop_factory"] = pelton.new_event_loop
    uvloop.EventLoopPolicy = pelton.EventLoopPolicy
    uvloop.install = pelton.install


def swap() -> None:
    """Takes effect when uvloop is imported."""
    sys.meta_path.insert(0, Swapper())  # type: ignore[arg-type]
