"""A router inside another: its routes, under a prefix and with more options, kept live."""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from starlette import routing
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, NoMatchFound, compile_path
from starlette.types import Receive, Scope, Send

from ... import _core
from .. import params
from ..datastructures import DefaultPlaceholder, first_set
from ..guard.app import DeadlineOption, nearest
from ..guard.limits import Limit
from ..telemetry.hooks import route_selected
from .frontend import FrontendRouteGroup
from .route import EFFECTIVE_ROUTE, APIRoute
from .websocket import APIWebSocketRoute

if TYPE_CHECKING:
    from .router import APIRouter

MATCHED = "pelton.matched_route"
"""Key in the child scope of a match: the route that an included router matched."""

_INCLUSION = "included_router"
"""Key in the scope's ``fastapi`` dict: the inclusion whose router is being asked."""


@dataclass
class Inclusion:
    """The options that `include_router` adds to each route, with those of all routers around."""

    router: "APIRouter"
    prefix: str
    tags: list[str | Enum]
    dependencies: list[params.Depends]
    default_response_class: type[Response] | DefaultPlaceholder
    responses: dict[int | str, dict[str, Any]]
    callbacks: list[BaseRoute]
    deprecated: bool | None
    include_in_schema: bool
    generate_unique_id_function: Callable[[APIRoute], str] | DefaultPlaceholder
    strict_content_type: bool | DefaultPlaceholder
    dependency_overrides_provider: Any | None
    limits: list[Limit]
    deadline: DeadlineOption
    cancel_on_disconnect: bool | None

    def within(self, outer: "Inclusion") -> "Inclusion":
        """This inclusion as seen from around `outer`, into which it was made."""
        return Inclusion(
            router=self.router,
            prefix=outer.prefix + self.prefix,
            tags=outer.tags + self.tags,
            dependencies=outer.dependencies + self.dependencies,
            default_response_class=first_set(
                self.default_response_class, outer.default_response_class
            ),
            responses={**outer.responses, **self.responses},
            callbacks=outer.callbacks + self.callbacks,
            deprecated=outer.deprecated or self.deprecated,
            include_in_schema=outer.include_in_schema and self.include_in_schema,
            generate_unique_id_function=first_set(
                self.generate_unique_id_function, outer.generate_unique_id_function
            ),
            strict_content_type=first_set(self.strict_content_type, outer.strict_content_type),
            dependency_overrides_provider=outer.dependency_overrides_provider,
            limits=outer.limits + self.limits,
            deadline=nearest(self.deadline, outer.deadline),
            cancel_on_disconnect=nearest(self.cancel_on_disconnect, outer.cancel_on_disconnect),
        )

    def apply(self, route: BaseRoute) -> BaseRoute | None:
        """`route` as it is inside this inclusion; `None` for a kind that cannot be included."""
        if isinstance(route, APIRoute):
            return self._api_route(route)
        if isinstance(route, FrontendRouteGroup):
            return route.included(
                prefix=self.prefix,
                dependencies=self.dependencies,
                dependency_overrides_provider=self.dependency_overrides_provider,
            )
        if isinstance(route, APIWebSocketRoute):
            return APIWebSocketRoute(
                self.prefix + route.path,
                endpoint=route.endpoint,
                name=route.name,
                dependencies=self.dependencies + route.dependencies,
                dependency_overrides_provider=self.dependency_overrides_provider,
            )
        return self._plain_route(route)

    def _api_route(self, route: APIRoute) -> APIRoute:
        included = copy.copy(route)
        included.original_route = route
        own = self.router
        included.declare(
            self.prefix + route.path,
            route.endpoint,
            response_model=route.response_model,
            status_code=route.status_code,
            tags=self.tags + route.tags,
            dependencies=self.dependencies + route.dependencies,
            summary=route.summary,
            description=route.description,
            response_description=route.response_description,
            responses={**self.responses, **route.responses},
            deprecated=route.deprecated or self.deprecated,
            methods=route.methods,
            operation_id=route.operation_id,
            response_model_include=route.response_model_include,
            response_model_exclude=route.response_model_exclude,
            response_model_by_alias=route.response_model_by_alias,
            response_model_exclude_unset=route.response_model_exclude_unset,
            response_model_exclude_defaults=route.response_model_exclude_defaults,
            response_model_exclude_none=route.response_model_exclude_none,
            include_in_schema=route.include_in_schema and self.include_in_schema,
            response_class=first_set(
                route.response_class, own.default_response_class, self.default_response_class
            ),
            name=route.name,
            dependency_overrides_provider=self.dependency_overrides_provider,
            callbacks=[*self.callbacks, *(route.callbacks or [])],
            openapi_extra=route.openapi_extra,
            generate_unique_id_function=first_set(
                route.generate_unique_id_function,
                own.generate_unique_id_function,
                self.generate_unique_id_function,
            ),
            strict_content_type=first_set(
                route.strict_content_type, own.strict_content_type, self.strict_content_type
            ),
            limits=self.limits + route.limits,
            deadline=nearest(route.deadline, self.deadline),
            cancel_on_disconnect=nearest(route.cancel_on_disconnect, self.cancel_on_disconnect),
        )
        included.build_included_app()
        return included

    def _plain_route(self, route: BaseRoute) -> BaseRoute | None:
        """Starlette's own kinds of route: only the prefix concerns them."""
        if isinstance(route, routing.Route):
            return routing.Route(
                self.prefix + route.path,
                endpoint=route.endpoint,
                methods=list(route.methods or []),
                name=route.name,
                include_in_schema=route.include_in_schema,
            )
        if isinstance(route, routing.WebSocketRoute):
            return routing.WebSocketRoute(self.prefix + route.path, route.endpoint, name=route.name)
        if isinstance(route, routing.Mount):
            mount = copy.copy(route)
            mount.path = (self.prefix + route.path).rstrip("/")
            mount.path_regex, mount.path_format, mount.param_convertors = compile_path(
                mount.path + "/{path:path}"
            )
            return mount
        if isinstance(route, routing.Host):
            app = route.app
            if self.prefix:
                app = routing.Router(routes=[routing.Mount(self.prefix, app=app)])
            return routing.Host(route.host, app=app, name=route.name)
        return None


@dataclass(frozen=True)
class RouteContext:
    """A route as requests reach it, and the route as it was declared.

    All attributes of the former (`path`, `methods`, `dependant`…) can be read from this.
    """

    route: BaseRoute
    effective: BaseRoute | None = field(default=None, repr=False)

    @property
    def original_route(self) -> BaseRoute:
        """The route as it was declared on its own router."""
        return self.route

    @property
    def path(self) -> str | None:
        """The full path, with the prefixes of all routers around."""
        return getattr(self.effective or self.route, "path", None)

    @property
    def path_format(self) -> str | None:
        """The full path, without convertors."""
        return getattr(self.effective or self.route, "path_format", None)

    @property
    def name(self) -> str | None:
        """The name by which URLs are made."""
        return getattr(self.effective or self.route, "name", None)

    @property
    def methods(self) -> set[str] | None:
        """The methods it answers."""
        return getattr(self.effective or self.route, "methods", None)

    @property
    def endpoint(self) -> Callable[..., Any] | None:
        """The function that answers."""
        return getattr(self.effective or self.route, "endpoint", None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.effective or self.route, name)


class IncludedRouter(BaseRoute):
    """What `include_router` leaves in the outer router's routes.

    Routes added to the included router later are served too: the list is made again when that
    router, or one inside it, has changed.
    """

    def __init__(self, inclusion: Inclusion) -> None:
        self.inclusion = inclusion
        self._lock = threading.Lock()
        self._seen: _core.RoutesSeen | None = None
        self._routes: list[RouteContext] = []
        self._candidates: list[RouteContext | IncludedRouter] = []
        self._last_routes: list[RouteContext] = []

    @property
    def router(self) -> "APIRouter":
        """The router that was included."""
        return self.inclusion.router

    @property
    def contexts(self) -> list[RouteContext]:
        """All routes in the order they are tried, with those of routers inside."""
        self._refresh()
        return self._routes

    @property
    def candidates(self) -> "list[RouteContext | IncludedRouter]":
        """What is asked in turn: the routes, those of routers inside among them, and the
        inclusions whose routers decide themselves."""
        self._refresh()
        return self._candidates

    @property
    def low_priority_contexts(self) -> list[RouteContext]:
        """The routes that are tried when no other route of the app matches."""
        self._refresh()
        return self._last_routes

    def _refresh(self) -> None:
        if self._is_current():
            return
        with self._lock:
            if self._is_current():
                return
            # First of all: a route that is added meanwhile makes it old at once.
            seen = self.router.routes_seen()
            contexts: list[RouteContext] = []
            candidates: list[RouteContext | IncludedRouter] = []
            last = [
                RouteContext(route, effective)
                for route in self.router.low_priority_routes
                if (effective := self.inclusion.apply(route)) is not None
            ]
            for route in self.router.routes:
                if isinstance(route, IncludedRouter):
                    inner = IncludedRouter(route.inclusion.within(self.inclusion))
                    contexts.extend(inner.contexts)
                    candidates.extend([inner] if inner.router.decides else inner.candidates)
                    last.extend(inner.low_priority_contexts)
                elif (effective := self.inclusion.apply(route)) is not None:
                    contexts.append(RouteContext(route, effective))
                    candidates.append(contexts[-1])
            self._routes, self._candidates, self._last_routes = contexts, candidates, last
            self._seen = seen

    def _is_current(self) -> bool:
        return self._seen is not None and self._seen.is_current()

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """The first full match among the routes, else the first for another method; what the
        router's class says, if it has its say."""
        if not self.router.decides:
            match, child_scope, found = self.find(scope)
            return match, child_scope if found is None else {**child_scope, MATCHED: found}
        state: dict[str, Any] = scope.setdefault("fastapi", {})
        before = state.get(_INCLUSION)
        state[_INCLUSION] = self
        try:
            return self.router.matches(scope)[0], {}
        finally:
            state[_INCLUSION] = before

    def find(self, scope: Scope) -> "tuple[Match, Scope, RouteContext | IncludedRouter | None]":
        """The first that matches in full, else the first for another method, and what it adds to
        the scope."""
        partial: tuple[Match, Scope, RouteContext | IncludedRouter | None] = (Match.NONE, {}, None)
        for candidate in self.candidates:
            if isinstance(candidate, IncludedRouter):
                match, child_scope = candidate.matches(scope)
            else:
                match, child_scope = match_context(candidate, scope)
            if match == Match.FULL:
                return match, child_scope, candidate
            if match == Match.PARTIAL and partial[2] is None:
                partial = (match, child_scope, candidate)
        return partial

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands the request to the route that `matches` found, or to the router's class."""
        if self.router.decides:
            scope.setdefault("fastapi", {})[_INCLUSION] = self
            await self.router.handle(scope, receive, send)
            return
        await _handle_candidate(scope.pop(MATCHED), scope, receive, send)

    async def handle_found(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Finds the route again, for a router whose class was asked in between."""
        _, child_scope, found = self.find(scope)
        if found is None:
            await self.router.default(scope, receive, send)
            return
        scope.update(child_scope)
        await _handle_candidate(found, scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> Any:
        """The URL of the first route of that name and those parameters."""
        for context in self.contexts:
            try:
                return (context.effective or context.route).url_path_for(name, **path_params)
            except NoMatchFound:
                continue
        raise NoMatchFound(name, path_params)


async def _handle_candidate(
    candidate: RouteContext | IncludedRouter, scope: Scope, receive: Receive, send: Send
) -> None:
    if isinstance(candidate, IncludedRouter):
        await candidate.handle(scope, receive, send)
    else:
        await handle_context(candidate, scope, receive, send)


def inclusion_of(scope: Scope, router: "APIRouter") -> IncludedRouter | None:
    """The inclusion through which `router` is being asked; `None`: it is not."""
    inclusion: IncludedRouter | None = scope.get("fastapi", {}).get(_INCLUSION)
    return inclusion if inclusion is not None and inclusion.router is router else None


def matched_in(child_scope: Scope) -> RouteContext | None:
    """The route inside an included router that a match with this scope is for."""
    return child_scope.get(MATCHED)


def match_context(context: RouteContext, scope: Scope) -> tuple[Match, Scope]:
    """Asks the route whether it matches, through the original where its class has its say."""
    route, original = context.effective, context.route
    assert route is not None
    if not isinstance(original, APIRoute) or type(original).matches is APIRoute.matches:
        return route.matches(scope)
    state: dict[str, Any] = scope.setdefault("fastapi", {})
    before = state.get(EFFECTIVE_ROUTE)
    state[EFFECTIVE_ROUTE] = route
    try:
        return original.matches(scope)
    finally:
        state[EFFECTIVE_ROUTE] = before


async def handle_context(context: RouteContext, scope: Scope, receive: Receive, send: Send) -> None:
    """Lets the route answer, through the original where its class has its say."""
    route, original = context.effective, context.route
    assert route is not None
    route_selected(scope, context.path_format, isinstance(original, routing.Mount))
    if isinstance(original, APIRoute):
        scope.setdefault("fastapi", {})[EFFECTIVE_ROUTE] = route
        if type(original).handle is not APIRoute.handle:
            route = original
    await route.handle(scope, receive, send)


def iter_route_contexts(
    routes: Sequence[BaseRoute | RouteContext],
) -> Iterator[RouteContext]:
    """All of `routes`, included routers taken apart, in the order they are tried."""
    for route in routes:
        if isinstance(route, RouteContext):
            yield route
        elif isinstance(route, IncludedRouter):
            yield from route.contexts
        else:
            yield RouteContext(route)
