"""A pytest plugin under which ``fastapi`` is `pelton.web`, and known differences are expected.

The modules are the same objects under both names, so that classes are the same too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import fastapi_alias
import internals
import pydantic
import pytest

EXPECTED = Path(__file__).with_name("expected.txt")
"""The list, unless ``PELTON_EXPECTED`` names others."""


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
    lists = os.environ.get("PELTON_EXPECTED", str(EXPECTED)).split(os.pathsep)
    for line in "\n".join(Path(name).read_text() for name in lists).splitlines():
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


fastapi_alias.install()
add_internals()
internals.add_to_routing()
internals.add_to_models()
