"""Makes ``fastapi`` another name of `pelton.web` in this process."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType


class Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``fastapi.x`` as ``pelton.web.x``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec whose loading puts our module into `sys.modules`."""
        first, dot, rest = fullname.partition(".")
        if first != "fastapi":
            return None
        ours = f"pelton.web{dot}{rest}"
        try:
            module = importlib.import_module(ours)
        except ModuleNotFoundError as error:
            if error.name == ours:
                return None
            raise
        is_package = hasattr(module, "__path__")
        spec = importlib.machinery.ModuleSpec(fullname, self, is_package=is_package)
        spec.loader_state = module
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Replaces the empty `module` that the import system made."""
        assert module.__spec__ is not None
        sys.modules[module.__spec__.name] = module.__spec__.loader_state


def install() -> None:
    """From now on ``import fastapi`` gives `pelton.web`, wherever a real one may lie."""
    if not any(isinstance(finder, Alias) for finder in sys.meta_path):
        sys.meta_path.insert(0, Alias())
