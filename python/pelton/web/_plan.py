"""Compiled plans: which routes have one, and what the compiled core needs to know about an app.

A plan is worked out when the route is declared and run by `pelton._core`. Whatever it cannot
express takes the reference path, Starlette's way; `explain` says which routes do and why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import SchemaSerializer
from starlette import routing
from starlette.convertors import CONVERTOR_TYPES
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from .. import _core
from . import params
from ._plan_help import AppLayers
from ._plan_spec import NodeSpec, Unplanned, nodes_of, validator_of
from .annotations import lenient_issubclass
from .datastructures import DefaultPlaceholder
from .sse import EventSourceResponse

if TYPE_CHECKING:
    from .applications import FastAPI
    from .routing.route import APIRoute


@dataclass(frozen=True, slots=True)
class RespondSpec:
    """How results become responses: ``json``, ``model`` (by Pydantic) or ``reference``."""

    way: str
    status_code: int | None
    validate: Callable[..., Any] | None = None
    to_json: Callable[..., Any] | None = None
    options: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PlanSpec:
    """A whole route."""

    nodes: list[NodeSpec]
    reads_body: bool
    strict_content_type: bool
    embed: bool
    respond: RespondSpec
    overrides: Any
    route: Any


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """A route of an app: its path in pieces (see `_pieces`), its methods, and its ASGI app."""

    pattern: list[str | tuple[str, str]]
    methods: list[str]
    app: ASGIApp | None


@dataclass(frozen=True, slots=True)
class AppSpec:
    """An app that requests may enter past its ASGI interface."""

    routes: list[RouteSpec]
    routers: list[Any]
    layers: AppLayers


def compile_route(route: APIRoute) -> ASGIApp | None:
    """The ASGI app that runs the route's plan; `None` where it has none."""
    from .routing.handler import request_response

    try:
        spec = _spec_of(route)
    except Unplanned:
        return None
    reference = request_response(route.original_route.get_route_handler())
    app: ASGIApp = _core.RouteApp(spec, reference)
    return app


def explain(route: Any) -> str | None:
    """Why `route` takes the reference path; `None` if it has a plan."""
    from .routing.route import APIRoute

    if isinstance(getattr(route, "app", None), _core.RouteApp):
        return None
    if not isinstance(route, APIRoute):
        return f"{type(route).__name__} is not an API route"
    if type(route).get_route_handler is not APIRoute.get_route_handler:
        return f"{type(route).__name__} overrides get_route_handler"
    try:
        _spec_of(route)
    except Unplanned as reason:
        return str(reason)
    return "its app was replaced after it was declared"


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
    if body is not None and isinstance(body.field_info, params.Form):
        raise Unplanned("a form")
    return PlanSpec(
        nodes=nodes_of(route.dependant),
        reads_body=body is not None,
        strict_content_type=bool(route.strict_content_type),
        embed=route.embed_body_fields,
        respond=_respond_spec(route),
        overrides=route.dependency_overrides_provider,
        route=route,
    )


def _respond_spec(route: APIRoute) -> RespondSpec:
    declared: Any = route.response_class
    status = route.status_code
    is_default = isinstance(declared, DefaultPlaceholder)
    actual = declared.value if isinstance(declared, DefaultPlaceholder) else declared
    if lenient_issubclass(actual, EventSourceResponse):
        raise Unplanned("an event stream")
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
        )
    if is_default and actual is JSONResponse:
        return RespondSpec(way="json", status_code=status)
    return RespondSpec(way="reference", status_code=status)


def app_spec(app: Any) -> AppSpec | None:
    """What the server needs to run the plans of `app` itself.

    `None` for what is no app of `pelton.web`, or has middleware of its own: that is an ASGI app
    and nothing more.
    """
    from .applications import FastAPI
    from .routing.router import APIRouter

    if not isinstance(app, FastAPI) or type(app).__call__ is not FastAPI.__call__:
        return None
    router = app.router
    # A root path is cut from every path before routing; that is left to Starlette.
    if type(router) is not APIRouter or router.middleware_stack != router.app or app.root_path:
        return None
    layers = AppLayers.of(app)
    if layers is None or app.observer() is not None:
        return None
    routers: list[Any] = [app.router]
    routes = [
        spec
        for context in app.router.route_contexts()
        if (spec := _route_spec(context.original_route, context.effective)) is not None
    ]
    _collect_routers(app.router, routers)
    if "opentelemetry.trace" in sys.modules:
        routers.append(_ObservedFlag(app))
    return AppSpec(routes=routes, routers=routers, layers=layers)


class _ObservedFlag:
    """Stands among the routers whose changes are looked for: it changes once requests are to be
    observed, which they are on the ASGI path only."""

    routes = ()

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    @property
    def _own_version(self) -> int:
        return int(self._app.observer() is not None)


def _collect_routers(router: Any, found: list[Any]) -> None:
    from .routing.included import IncludedRouter

    for route in router.routes:
        if isinstance(route, IncludedRouter) and route.router not in found:
            found.append(route.router)
            _collect_routers(route.router, found)


def _route_spec(declared: Any, effective: Any) -> RouteSpec | None:
    """How a route takes part in routing; `None` if it never matches an HTTP request."""
    from .routing.route import APIRoute

    route = effective or declared
    if isinstance(route, routing.WebSocketRoute):
        return None
    opaque = RouteSpec(pattern=[("", "opaque")], methods=[], app=None)
    if isinstance(route, APIRoute):
        kind = type(declared)
        if kind.matches is not APIRoute.matches or kind.handle is not APIRoute.handle:
            return opaque
    elif type(route) is routing.Mount:
        # A mount matches its path only with something, if just a slash, after it.
        return RouteSpec(pattern=[*_pieces(route.path + "/"), ("", "opaque")], methods=[], app=None)
    elif type(route) is not routing.Route:
        return opaque
    return RouteSpec(
        pattern=_pieces(route.path), methods=sorted(route.methods or ()), app=route.app
    )


def _pieces(path: str) -> list[str | tuple[str, str]]:
    """The text and the parameters ``(name, convertor)`` of a path; a convertor of the user's is
    ``opaque``, and so is one of the usual that he replaced."""
    pieces: list[str | tuple[str, str]] = []
    at = 0
    for match in routing.PARAM_REGEX.finditer(path):
        name, convertor = match.groups("str")
        convertor = convertor.lstrip(":")
        if match.start() > at:
            pieces.append(path[at : match.start()])
        usual = _USUAL_CONVERTORS.get(convertor)
        is_usual = usual is not None and CONVERTOR_TYPES.get(convertor) is usual
        pieces.append((name, convertor if is_usual else "opaque"))
        at = match.end()
    if at < len(path):
        pieces.append(path[at:])
    return pieces


_USUAL_CONVERTORS = {name: CONVERTOR_TYPES[name] for name in ("str", "path", "int")}
