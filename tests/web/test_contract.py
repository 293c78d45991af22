"""The contract: every public name of FastAPI is here, with every parameter."""

from __future__ import annotations

import importlib
import inspect
from functools import reduce
from typing import Any

import pytest
import starlette.applications
import starlette.exceptions
import starlette.responses
import starlette.routing

from pelton import web
from tests.web.contract_table import NAMES, PARAMETERS


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module in NAMES for name in NAMES[module].split()]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_name_is_there(module: str, name: str) -> None:
    if module == "middleware.wsgi":
        # As in FastAPI, where it comes from a package of its own.
        pytest.importorskip("a2wsgi")
    found = importlib.import_module(f"pelton.web.{module}".rstrip("."))
    assert hasattr(found, name)


def named(path: str) -> Any:
    """What a path below ``pelton.web`` names; modules are imported on the way."""
    head = path.split(".")
    for length in range(len(head) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(["pelton.web", *head[:length]]))
        except ModuleNotFoundError:
            continue
        return reduce(getattr, head[length:], module)
    return reduce(getattr, head, web)


@pytest.mark.parametrize("path", PARAMETERS)
def test_every_parameter_is_there(path: str) -> None:
    parameters = set(inspect.signature(named(path)).parameters)
    assert set(PARAMETERS[path].split()) <= parameters


def test_classes_are_starlettes_where_users_compare_them() -> None:
    assert issubclass(web.FastAPI, starlette.applications.Starlette)
    assert issubclass(web.APIRouter, starlette.routing.Router)
    assert issubclass(web.routing.APIRoute, starlette.routing.Route)
    assert issubclass(web.HTTPException, starlette.exceptions.HTTPException)
    assert web.Response is starlette.responses.Response
