"""mypy's stubtest for `pelton._core`: its stub is a folder of files, the extension is one module.

Of names that a stub re-exports, stubtest compares none: they are left to the module that defines
them. For those of `_core/_jobs.pyi` that would be `pelton._core._jobs`, which does not exist. So
each file of the folder gets such a module here, with what the extension has by the file's names.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from mypy import stubtest

from pelton import _core

STUBS = Path(__file__).resolve().parent.parent / "python/pelton/_core"


def main() -> int:
    """Make the modules, and do what the command line says."""
    for stub in STUBS.glob("_[!_]*.pyi"):
        module = ModuleType(f"{_core.__name__}.{stub.stem}")
        for name in defined(ast.parse(stub.read_text(encoding="utf-8"))):
            if hasattr(_core, name):
                setattr(module, name, getattr(_core, name))
        sys.modules[module.__name__] = module
    return stubtest.main()


def defined(stub: ast.Module) -> Iterator[str]:
    """The names of a stub's own classes, functions and values."""
    for node in stub.body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name


if __name__ == "__main__":
    sys.exit(main())
