"""What a path operation may declare about itself."""

import inspect
import typing
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, TypedDict

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from .. import params
from ..datastructures import Default, DefaultPlaceholder
from ..guard.app import DeadlineOption
from ..guard.limits import Limit
from ..types import IncEx
from ..utils import generate_unique_id

if TYPE_CHECKING:
    from .route import APIRoute


class OperationOptions(TypedDict, total=False):
    """Options of ``@app.get(…)`` and its like.

    `response_model` is what the response is validated against, filtered by and documented as;
    left out, the endpoint's return annotation is used, and `None` means neither. The
    `response_model_…` options go to Pydantic's serializer. `dependencies` are called for their
    effects. `status_code`, `response_class` and `responses` describe what is sent; the others
    only document. `callbacks` are routes that the API calls elsewhere.

    Pelton's own: `limits` (see `RateLimit`, `ConcurrencyLimit`), `deadline` (seconds or a
    `Deadline`; `False` for none where a router has one) and `cancel_on_disconnect` (the endpoint is
    cancelled when its client has gone).
    """

    response_model: Any
    status_code: int | None
    tags: list[str | Enum] | None
    dependencies: Sequence[params.Depends] | None
    summary: str | None
    description: str | None
    response_description: str
    responses: dict[int | str, dict[str, Any]] | None
    deprecated: bool | None
    operation_id: str | None
    response_model_include: IncEx | None
    response_model_exclude: IncEx | None
    response_model_by_alias: bool
    response_model_exclude_unset: bool
    response_model_exclude_defaults: bool
    response_model_exclude_none: bool
    include_in_schema: bool
    response_class: type[Response] | DefaultPlaceholder
    name: str | None
    callbacks: list[BaseRoute] | None
    openapi_extra: dict[str, Any] | None
    generate_unique_id_function: "Callable[[APIRoute], str] | DefaultPlaceholder"
    limits: Sequence[Limit] | None
    deadline: DeadlineOption
    cancel_on_disconnect: bool | None


DEFAULTS: dict[str, Any] = {
    "response_model": Default(None),
    "status_code": None,
    "tags": None,
    "dependencies": None,
    "summary": None,
    "description": None,
    "response_description": "Successful Response",
    "responses": None,
    "deprecated": None,
    "operation_id": None,
    "response_model_include": None,
    "response_model_exclude": None,
    "response_model_by_alias": True,
    "response_model_exclude_unset": False,
    "response_model_exclude_defaults": False,
    "response_model_exclude_none": False,
    "include_in_schema": True,
    "response_class": Default(JSONResponse),
    "name": None,
    "callbacks": None,
    "openapi_extra": None,
    "generate_unique_id_function": Default(generate_unique_id),
    "limits": None,
    "deadline": None,
    "cancel_on_disconnect": None,
}
"""The value of each option that is left out."""


def with_defaults(options: OperationOptions, caller: str) -> dict[str, Any]:
    """`options` and the defaults of the rest; refuses names that are no options."""
    unknown = options.keys() - DEFAULTS.keys()
    if unknown:
        raise TypeError(f"{caller}() got an unexpected keyword argument {sorted(unknown)[0]!r}")
    return {**DEFAULTS, **options}


def show_options(function: Callable[..., Any]) -> None:
    """Gives `function`, which takes `OperationOptions`, a signature that names each of them."""
    signature = inspect.signature(function)
    named = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    known = {parameter.name for parameter in named}
    annotations = typing.get_type_hints(OperationOptions, localns={"APIRoute": Any})
    named += [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotations[name]
        )
        for name, default in DEFAULTS.items()
        if name not in known
    ]
    function.__signature__ = signature.replace(parameters=named)  # type: ignore[attr-defined]
