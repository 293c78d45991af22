"""An app's routes in the form that the compiled core takes: paths, methods, plans."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette import routing
from starlette.convertors import CONVERTOR_TYPES

from ._plan_layers import AppLayers

if TYPE_CHECKING:
    from .applications import FastAPI

Pattern = list[str | tuple[str, str]]
"""The text and the parameters ``(name, convertor)`` of a path, in turn."""


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """A route of an app: its path in pieces (see `_pieces`), its methods, and the route itself.

    `route` is `None` where Starlette takes over. `custom` is the regular expression with its
    convertors, where the user made one of these.
    """

    pattern: Pattern
    custom: tuple[Any, Any] | None
    methods: list[str]
    route: Any


@dataclass(frozen=True, slots=True)
class AppSpec:
    """An app that requests may enter past its ASGI interface."""

    routes: list[RouteSpec]
    routers: list[Any]
    layers: AppLayers


def app_spec(app: Any) -> AppSpec | None:
    """What the server needs to run the plans of `app` itself; `None` where `why_asgi` has a
    reason: that is an ASGI app and nothing more."""
    if why_asgi(app) is not None:
        return None
    layers = AppLayers.of(app)
    if layers is None:
        return None
    routers: list[Any] = app.router.routers()
    routes = [
        spec
        for declared, effective in _candidates(app.router.routes)
        if (spec := _route_spec(declared, effective)) is not None
    ]
    if "opentelemetry.trace" in sys.modules:
        routers.append(_ObservedFlag(app))
    return AppSpec(routes=routes, routers=routers, layers=layers)


def why_asgi(app: Any) -> str | None:
    """Why all requests of `app` come to its routes through ASGI; `None` if the server may go to
    their plans at once."""
    from .applications import FastAPI
    from .routing.router import APIRouter

    if not isinstance(app, FastAPI):
        return f"{type(app).__name__} is no application of pelton.web"
    if type(app).__call__ is not FastAPI.__call__:
        return f"{type(app).__name__} overrides __call__"
    router = app.router
    if type(router) is not APIRouter or router.middleware_stack != router.app:
        return "its router has middleware or a class of its own"
    if app.root_path:
        # It is cut from every path before routing; that is left to Starlette.
        return "it has a root path"
    if AppLayers.of(app) is None:
        names = [getattr(layer.cls, "__name__", str(layer.cls)) for layer in app.user_middleware]
        return f"it has middleware ({', '.join(names) or 'a stack of its own'})"
    if app.observer() is not None:
        return "it is observed"
    return None


class _ObservedFlag:
    """Stands among the routers whose changes are looked for: it changes once requests are to be
    observed, which they are on the ASGI path only."""

    routes = ()

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    @property
    def _own_version(self) -> int:
        return int(self._app.observer() is not None)


def _candidates(routes: list[Any]) -> Iterator[tuple[Any, Any]]:
    """All routes in the order they are tried, and as inclusions see them. An included router
    whose class decides stands for all of its routes."""
    from .routing.included import IncludedRouter

    for route in routes:
        if not isinstance(route, IncludedRouter) or route.router.decides:
            yield route, None
            continue
        for found in route.candidates:
            if isinstance(found, IncludedRouter):
                yield found, None
            else:
                yield found.route, found.effective


def _route_spec(declared: Any, effective: Any) -> RouteSpec | None:
    """How a route takes part in routing; `None` if it never matches an HTTP request."""
    route = effective or declared
    if isinstance(route, routing.WebSocketRoute):
        return None
    pattern = pattern_of(declared, effective)
    if pattern == OPAQUE or type(route) is routing.Mount:
        return RouteSpec(pattern=pattern, custom=None, methods=[], route=None)
    if type(declared).handle not in _usual_handles():
        return RouteSpec(pattern=pattern, custom=None, methods=[], route=None)
    is_custom = any(not isinstance(piece, str) and piece[1] == "opaque" for piece in pattern)
    return RouteSpec(
        pattern=pattern,
        custom=(route.path_regex, route.param_convertors) if is_custom else None,
        methods=sorted(route.methods or ()),
        route=route,
    )


OPAQUE: Pattern = [("", "opaque")]
"""Of a route that may match any path: its class decides."""


def pattern_of(declared: Any, effective: Any = None) -> Pattern:
    """The paths that a route may match; `OPAQUE` where only itself can say."""
    route = effective or declared
    if type(declared).matches not in _usual_matches():
        return OPAQUE
    if isinstance(route, routing.Mount):
        # A mount matches its path only with something, if just a slash, after it.
        return [*_pieces(route, route.path + "/"), *OPAQUE]
    return _pieces(route, route.path)


def _usual_matches() -> tuple[Any, ...]:
    from .routing.route import APIRoute

    return (
        APIRoute.matches,
        routing.Route.matches,
        routing.Mount.matches,
        routing.WebSocketRoute.matches,
    )


def _usual_handles() -> tuple[Any, ...]:
    from .routing.route import APIRoute

    return (APIRoute.handle, routing.Route.handle)


def _pieces(route: Any, path: str) -> Pattern:
    """The text and the parameters of a path; a convertor of the user's is ``opaque``, and so is
    one that he put in the place of a usual one."""
    pieces: Pattern = []
    at = 0
    for match in routing.PARAM_REGEX.finditer(path):
        name, convertor = match.groups("str")
        convertor = convertor.lstrip(":")
        if match.start() > at:
            pieces.append(path[at : match.start()])
        usual = _USUAL_CONVERTORS.get(convertor)
        is_usual = usual is not None and route.param_convertors.get(name) is usual
        pieces.append((name, convertor if is_usual else "opaque"))
        at = match.end()
    if at < len(path):
        pieces.append(path[at:])
    return pieces


_USUAL_CONVERTORS = {
    name: CONVERTOR_TYPES[name] for name in ("str", "path", "int", "float", "uuid")
}
