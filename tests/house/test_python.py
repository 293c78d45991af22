"""Rules about the Python package: short functions, documented names, one home for each export."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pelton
from tests.house.tree import ROOT, files, name

FUNCTION_LINES_MAX = 70
PACKAGE = ROOT / "python/pelton"

type_of_function = (ast.FunctionDef, ast.AsyncFunctionDef)


def test_functions_are_short() -> None:
    long = [
        f"{name(path)}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES_MAX}"
        for path in files(".py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, type_of_function)
        if (length := body_lines(node)) > FUNCTION_LINES_MAX
    ]
    assert not long, "\n".join(long)


def test_public_names_are_documented() -> None:
    silent = [
        f"{name(path)}:{line}: {what} has no docstring"
        for path in files(".py")
        if path.is_relative_to(PACKAGE)
        for line, what in undocumented(ast.parse(path.read_text()))
    ]
    assert not silent, "\n".join(silent)


def test_every_name_has_one_public_home() -> None:
    homes: dict[tuple[str, int], list[str]] = defaultdict(list)
    for module in public_modules():
        for export in getattr(module, "__all__", ()):
            value = getattr(module, export)
            if getattr(value, "__module__", "").startswith("pelton"):
                homes[export, id(value)].append(module.__name__)
    twice = [
        f"{export} is exported by {' and '.join(modules)}"
        for (export, _), modules in homes.items()
        if not is_facade(modules)
    ]
    assert not twice, "\n".join(twice)


def test_exports_exist_and_are_listed_once() -> None:
    for module in public_modules():
        exports = list(getattr(module, "__all__", ()))
        assert len(exports) == len(set(exports)), f"{module.__name__}.__all__ repeats a name"
        missing = [export for export in exports if not hasattr(module, export)]
        assert not missing, f"{module.__name__}.__all__ lists what is not there: {missing}"


def is_facade(modules: list[str]) -> bool:
    """Whether one module hands on what modules inside it export: a package's face."""
    face = min(modules, key=len)
    return all(module == face or module.startswith(f"{face}.") for module in modules)


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many lines a function's body has, its docstring not counted."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (node.end_lineno or node.lineno) - body[0].lineno + 1 if body else 0


def undocumented(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Public classes, functions and methods without a docstring, and the module itself."""
    if ast.get_docstring(module) is None:
        yield 1, "the module"
    for node in module.body:
        if not isinstance(node, (*type_of_function, ast.ClassDef)) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None and not is_overload(node):
            yield node.lineno, node.name
        if isinstance(node, ast.ClassDef):
            yield from undocumented_methods(node)


def undocumented_methods(owner: ast.ClassDef) -> Iterator[tuple[int, str]]:
    """Public methods of a class without a docstring; what overrides keeps the base's contract."""
    for node in owner.body:
        if not isinstance(node, type_of_function) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None and not is_overload(node) and not owner.bases:
            yield node.lineno, f"{owner.name}.{node.name}"


def is_overload(node: ast.AST) -> bool:
    """Whether a function is one of several typing signatures, or a property's setter."""
    decorators = [ast.unparse(item) for item in getattr(node, "decorator_list", ())]
    return any(item.endswith(("overload", ".setter", ".deleter")) for item in decorators)


def public_modules() -> Iterator[object]:
    """The package and every module in it that no part of the name marks as private.

    A module may warn when it is imported, that Starlette will drop what it re-exports.
    """
    yield pelton
    for found in pkgutil.walk_packages(pelton.__path__, "pelton."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            with warnings.catch_warnings(action="ignore"):
                module = importlib.import_module(found.name)
            yield module


def test_the_package_is_where_the_rules_look() -> None:
    assert Path(pelton.__file__).is_relative_to(PACKAGE)
