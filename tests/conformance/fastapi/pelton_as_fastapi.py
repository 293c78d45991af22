"""A pytest plugin under which ``fastapi`` is `pelton.web`, and known differences are expected.

The modules are the same objects under both names, so that classes are the same too.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pydantic
import pytest

EXPECTED = Path(__file__).with_name("expected.txt")


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


def add_internals() -> None:
    """The internals of FastAPI that its tests of behaviour reach through."""
    from pelton.web import annotations, concurrency, fields, params
    from pelton.web.dependencies import body, utils

    compat = ModuleType("fastapi._compat")
    compat.__path__ = []
    compat.PYDANTIC_VERSION_MINOR_TUPLE = tuple(  # type: ignore[attr-defined]
        int(part) for part in pydantic.VERSION.split(".")[:2]
    )
    compat.Undefined = fields.Undefined  # type: ignore[attr-defined]
    compat.is_uploadfile_sequence_annotation = (  # type: ignore[attr-defined]
        annotations.is_upload_sequence
    )
    shared = ModuleType("fastapi._compat.shared")
    shared.is_bytes_sequence_annotation = (  # type: ignore[attr-defined]
        annotations.is_bytes_sequence
    )
    compat.v2 = fields  # type: ignore[attr-defined]
    sys.modules.update(
        {"fastapi._compat": compat, "fastapi._compat.shared": shared, "fastapi._compat.v2": fields}
    )
    params.Depends._concurrency = property(  # type: ignore[attr-defined]
        lambda self: self.limit
    )
    concurrency.ConcurrencyLimit.get_semaphore = (  # type: ignore[attr-defined]
        concurrency.ConcurrencyLimit.semaphore
    )
    utils._read_file_bytes = body.read_file_bytes  # type: ignore[attr-defined]


def expected() -> dict[str, str]:
    """Parts of test names that are expected to fail or are left out, and why."""
    found: dict[str, str] = {}
    for line in EXPECTED.read_text().splitlines():
        name, _, reason = line.partition("#")
        if name.strip():
            found[name.strip()] = reason.strip()
    return found


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leaves out the files and folders of the list."""
    path = collection_path.as_posix()
    out = [name for name in expected() if "::" not in name]
    return True if any(path.endswith(name) for name in out) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expects the single tests of the list to fail; those that hang are not run."""
    known = expected()
    for item in items:
        for name, reason in known.items():
            if "::" in name and item.nodeid.startswith(name):
                hangs = reason.startswith("hangs")
                item.add_marker(pytest.mark.xfail(reason=reason, strict=False, run=not hangs))


sys.meta_path.insert(0, Alias())
add_internals()
