"""Compiled plans: which routes have one, and what the compiled core needs to know about an app.

A plan is worked out when the route is declared and run by `pelton._core`. Whatever it cannot
express takes the reference path, Starlette's way; `explain` says which routes do and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import PydanticUserError
from pydantic_core import SchemaSerializer, SchemaValidator
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from .. import _core
from . import params
from ._plan_json import Writer, reads_json_alike, writer_of
from ._plan_spec import NodeSpec, Unplanned, nodes_of, validator_of
from .annotations import lenient_issubclass
from .datastructures import DefaultPlaceholder
from .guard.app import GuardedApp
from .guard.limits import RateLimit
from .sse import EventSourceResponse

if TYPE_CHECKING:
    from .fields import ModelField
    from .routing.route import APIRoute


@dataclass(frozen=True, slots=True)
class RespondSpec:
    """How results become responses: ``json``, ``model`` (by Pydantic) or ``reference``."""

    way: str
    status_code: int | None
    validate: Callable[..., Any] | None = None
    to_json: Callable[..., Any] | None = None
    options: dict[str, Any] | None = None
    writer: Writer | None = None


@dataclass(frozen=True, slots=True)
class PlanSpec:
    """A whole route."""

    nodes: list[NodeSpec]
    reads_body: bool
    is_form: bool
    form_groups: list[list[ModelField] | None]
    read_json: Callable[..., Any] | None
    dependants: list[NodeSpec]
    strict_content_type: bool
    embed: bool
    respond: RespondSpec
    overrides: Any
    route: Any
    limits: tuple[RateLimit, ...] | None


def compile_route(route: APIRoute) -> ASGIApp | None:
    """The ASGI app that runs the route's plan; `None` where it has none."""
    from .routing.handler import request_response

    try:
        spec = _spec_of(route)
    except (Unplanned, PydanticUserError):
        return None
    reference = request_response(route.original_route.get_route_handler())
    app: ASGIApp = _core.RouteApp(spec, reference)
    return app


def explain(route: Any) -> str | None:
    """Why `route` takes the reference path; `None` if it has a plan."""
    from .routing.route import APIRoute

    app = getattr(route, "app", None)
    if isinstance(app, GuardedApp):
        app = app.app
    if isinstance(app, _core.RouteApp):
        return None
    if not isinstance(route, APIRoute):
        return f"{type(route).__name__} is not an API route"
    if type(route).get_route_handler is not APIRoute.get_route_handler:
        return f"{type(route).__name__} overrides get_route_handler"
    try:
        _spec_of(route)
    except Unplanned as reason:
        return str(reason)
    except PydanticUserError:
        return "a type that is not fully defined"
    return "its app was replaced after it was declared"


def detour(route: Any) -> str | None:
    """Why our server runs the plan of `route` by ASGI; `None` if it runs it itself."""
    app = getattr(route, "app", None)
    return app.guard.reason if isinstance(app, GuardedApp) else None


@contextmanager
def disabled() -> Iterator[None]:
    """While it is open, all requests of this process take the reference path."""
    before = _core.use_plans(False)
    try:
        yield
    finally:
        _core.use_plans(before)


def _spec_of(route: APIRoute) -> PlanSpec:
    body = route.body_field
    nodes = nodes_of(route.dependant)
    guard = route.guard
    return PlanSpec(
        nodes=nodes,
        reads_body=body is not None,
        is_form=body is not None and isinstance(body.field_info, params.Form),
        read_json=_read_json(route, nodes),
        dependants=nodes,
        form_groups=[list(node.body_originals) or None for node in nodes],
        strict_content_type=bool(route.strict_content_type),
        embed=route.embed_body_fields,
        respond=_respond_spec(route),
        overrides=route.dependency_overrides_provider,
        route=route,
        limits=guard.rates if guard is not None and guard.is_native else None,
    )


def _writer(route: APIRoute, field: ModelField) -> Writer | None:
    """How the core writes the results, if all of their fields are to be written."""
    if (
        route.response_model_include is not None
        or route.response_model_exclude is not None
        or route.response_model_exclude_unset
        or route.response_model_exclude_defaults
        or route.response_model_exclude_none
    ):
        return None
    return writer_of(field, by_alias=route.response_model_by_alias)


def _read_json(route: APIRoute, nodes: list[NodeSpec]) -> Callable[..., Any] | None:
    """``validate_json`` of the one value that is the whole body, if that reads it as well."""
    fields = [field for node in nodes for field in node.body_originals]
    if len(fields) != 1 or route.embed_body_fields or isinstance(fields[0].field_info, params.Form):
        return None
    validator = fields[0].type_adapter.validator
    if type(validator) is SchemaValidator and reads_json_alike(fields[0]):
        return validator.validate_json
    return None


def _respond_spec(route: APIRoute) -> RespondSpec:
    declared: Any = route.response_class
    status = route.status_code
    is_default = isinstance(declared, DefaultPlaceholder)
    actual = declared.value if isinstance(declared, DefaultPlaceholder) else declared
    if lenient_issubclass(actual, EventSourceResponse) and not route.dependant.is_generator:
        raise Unplanned("an event stream that the endpoint does not yield")
    field = route.response_field
    if is_default and field is not None:
        adapter = field.type_adapter
        serializer = adapter.serializer
        is_compiled = type(serializer) is SchemaSerializer
        # Pydantic's own defaults are not named: they cost a little in every call.
        options = {
            "include": (route.response_model_include, None),
            "exclude": (route.response_model_exclude, None),
            "by_alias": (route.response_model_by_alias, None),
            "exclude_unset": (route.response_model_exclude_unset, False),
            "exclude_defaults": (route.response_model_exclude_defaults, False),
            "exclude_none": (route.response_model_exclude_none, False),
        }
        return RespondSpec(
            way="model",
            status_code=status,
            validate=validator_of(field),
            to_json=serializer.to_json if is_compiled else adapter.dump_json,
            options={name: value for name, (value, default) in options.items() if value != default},
            writer=_writer(route, field) if is_compiled else None,
        )
    if is_default and actual is JSONResponse:
        return RespondSpec(way="json", status_code=status)
    return RespondSpec(way="reference", status_code=status)
