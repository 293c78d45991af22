"""A group of routes that share a prefix and options."""

import os
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from enum import Enum
from typing import Any, Literal

from starlette import routing
from starlette._utils import get_route_path
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send
from starlette.websockets import WebSocket
from typing_extensions import Unpack

from ... import _core
from .. import params
from ..datastructures import Default, DefaultPlaceholder, first_set
from ..exceptions import FastAPIError
from ..guard.app import DeadlineOption, nearest
from ..guard.limits import Limit
from ..telemetry.hooks import route_selected
from ..types import DecoratedCallable
from ..utils import generate_unique_id
from .frontend import (
    SPECIFICITY,
    Fallback,
    FrontendRouteGroup,
    joined,
    normalized,
    should_check_directory,
)
from .included import (
    IncludedRouter,
    Inclusion,
    RouteContext,
    inclusion_of,
    iter_route_contexts,
    matched_in,
)
from .lifespan import as_lifespan, call_all, handlers_lifespan, nest
from .operations import Operations
from .options import OperationOptions, show_options, with_defaults
from .route import APIRoute
from .search import RouteSearch
from .websocket import APIWebSocketRoute


class APIRouter(Operations, routing.Router):
    """Path operations of one part of an app, for `include_router`.

    `prefix`, `tags`, `dependencies`, `responses`, `callbacks`, `deprecated` and
    `include_in_schema` apply to all of them, and so do Pelton's `limits`, `deadline` and
    `cancel_on_disconnect` (the nearest wins); `route_class` makes them. Routers may be included
    in routers; routes added after inclusion are served too.
    """

    def __init__(
        self,
        *,
        prefix: str = "",
        tags: list[str | Enum] | None = None,
        dependencies: Sequence[params.Depends] | None = None,
        default_response_class: type[Response] = Default(JSONResponse),
        responses: dict[int | str, dict[str, Any]] | None = None,
        callbacks: list[BaseRoute] | None = None,
        routes: list[BaseRoute] | None = None,
        redirect_slashes: bool = True,
        default: ASGIApp | None = None,
        dependency_overrides_provider: Any | None = None,
        route_class: type[APIRoute] = APIRoute,
        on_startup: Sequence[Callable[[], Any]] | None = None,
        on_shutdown: Sequence[Callable[[], Any]] | None = None,
        lifespan: Lifespan[Any] | None = None,
        deprecated: bool | None = None,
        include_in_schema: bool = True,
        generate_unique_id_function: Callable[[APIRoute], str] = Default(generate_unique_id),
        strict_content_type: bool = Default(True),
        limits: Sequence[Limit] | None = None,
        deadline: DeadlineOption = None,
        cancel_on_disconnect: bool | None = None,
    ) -> None:
        _check_prefix(prefix)
        chosen = (
            handlers_lifespan(self._startup, self._shutdown)
            if lifespan is None
            else as_lifespan(lifespan)
        )
        super().__init__(
            routes=routes, redirect_slashes=redirect_slashes, default=default, lifespan=chosen
        )
        self.lifespan_context = chosen
        self.on_startup: list[Callable[[], Any]] = list(on_startup or [])
        self.on_shutdown: list[Callable[[], Any]] = list(on_shutdown or [])
        self.prefix = prefix
        self.tags: list[str | Enum] = tags or []
        self.dependencies = list(dependencies or [])
        self.deprecated = deprecated
        self.include_in_schema = include_in_schema
        self.responses = responses or {}
        self.callbacks = callbacks or []
        self.dependency_overrides_provider = dependency_overrides_provider
        self.route_class = route_class
        self.default_response_class = default_response_class
        self.generate_unique_id_function = generate_unique_id_function
        self.strict_content_type = strict_content_type
        self.limits = list(limits or [])
        self.deadline = deadline
        self.cancel_on_disconnect = cancel_on_disconnect
        self.low_priority_routes: list[BaseRoute] = []
        self._frontends: FrontendRouteGroup | None = None
        self._own_version = 0
        self._searched: tuple[_core.RoutesSeen, RouteSearch] | None = None

    # Routes change: what was made of them is made again.

    def routes_seen(self) -> _core.RoutesSeen:
        """What tells whether this router, or one inside it, has other routes since."""
        return _core.RoutesSeen(self.routers())

    def routers(self) -> "list[APIRouter]":
        """This router and all those inside it, each once."""
        found = {id(self): self}
        open_ = [self]
        while open_:
            for route in open_.pop().routes:
                if isinstance(route, IncludedRouter) and id(route.router) not in found:
                    found[id(route.router)] = route.router
                    open_.append(route.router)
        return list(found.values())

    def route_contexts(self) -> Iterator[RouteContext]:
        """All routes in the order they are tried, included ones with their full paths."""
        return iter_route_contexts(self.routes)

    @property
    def decides(self) -> bool:
        """Whether its class has a way of its own to find its routes, or to let them answer."""
        kind = type(self)
        return kind.matches is not APIRouter.matches or kind.handle is not APIRouter.handle

    # Declaring routes.

    def _operation(self, path: str, method: str, options: OperationOptions) -> Any:
        return self.api_route(path, methods=[method], **options)

    def api_route(
        self,
        path: str,
        *,
        methods: list[str] | None = None,
        **options: Unpack[OperationOptions],
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Answers `methods` of `path` (``GET`` by default)."""

        def decorator(func: DecoratedCallable) -> DecoratedCallable:
            self.add_api_route(path, func, methods=methods, **options)
            return func

        return decorator

    def add_api_route(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: set[str] | list[str] | None = None,
        route_class_override: type[APIRoute] | None = None,
        strict_content_type: bool | DefaultPlaceholder = Default(True),
        **options: Unpack[OperationOptions],
    ) -> None:
        """`api_route` without a decorator."""
        given = with_defaults(options, "add_api_route")
        given.update(
            responses={**self.responses, **(given["responses"] or {})},
            response_class=first_set(given["response_class"], self.default_response_class),
            tags=[*self.tags, *(given["tags"] or [])],
            dependencies=[*self.dependencies, *(given["dependencies"] or [])],
            callbacks=[*self.callbacks, *(given["callbacks"] or [])],
            deprecated=given["deprecated"] or self.deprecated,
            include_in_schema=given["include_in_schema"] and self.include_in_schema,
            generate_unique_id_function=first_set(
                given["generate_unique_id_function"], self.generate_unique_id_function
            ),
            limits=[*self.limits, *(given["limits"] or [])],
            deadline=nearest(given["deadline"], self.deadline),
            cancel_on_disconnect=nearest(given["cancel_on_disconnect"], self.cancel_on_disconnect),
        )
        route_class = route_class_override or self.route_class
        route = route_class(
            self.prefix + path,
            endpoint=endpoint,
            methods=methods,
            dependency_overrides_provider=self.dependency_overrides_provider,
            strict_content_type=first_set(strict_content_type, self.strict_content_type),
            **given,
        )
        self.routes.append(route)
        self._own_version += 1

    def websocket(
        self,
        path: str,
        name: str | None = None,
        *,
        dependencies: Sequence[params.Depends] | None = None,
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Serves WebSockets at `path`; the function may take dependencies like any other."""

        def decorator(func: DecoratedCallable) -> DecoratedCallable:
            self.add_api_websocket_route(path, func, name=name, dependencies=dependencies)
            return func

        return decorator

    def add_api_websocket_route(
        self,
        path: str,
        endpoint: Callable[..., Any],
        name: str | None = None,
        *,
        dependencies: Sequence[params.Depends] | None = None,
    ) -> None:
        """`websocket` without a decorator."""
        route = APIWebSocketRoute(
            self.prefix + path,
            endpoint=endpoint,
            name=name,
            dependencies=[*self.dependencies, *(dependencies or [])],
            dependency_overrides_provider=self.dependency_overrides_provider,
        )
        self.routes.append(route)
        self._own_version += 1

    def route(
        self,
        path: str,
        methods: Collection[str] | None = None,
        name: str | None = None,
        include_in_schema: bool = True,
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Answers `path` with a function from Starlette's request to a response."""

        def decorator(func: DecoratedCallable) -> DecoratedCallable:
            self.add_route(
                path, func, methods=methods, name=name, include_in_schema=include_in_schema
            )
            return func

        return decorator

    def add_route(
        self,
        path: str,
        endpoint: Callable[[Request], Awaitable[Response] | Response],
        methods: Collection[str] | None = None,
        name: str | None = None,
        include_in_schema: bool = True,
    ) -> None:
        """`route` without a decorator."""
        super().add_route(path, endpoint, methods, name, include_in_schema)
        self._own_version += 1

    def websocket_route(
        self, path: str, name: str | None = None
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Serves WebSockets at `path` with a function of Starlette's WebSocket only."""

        def decorator(func: DecoratedCallable) -> DecoratedCallable:
            self.add_websocket_route(path, func, name=name)
            return func

        return decorator

    def add_websocket_route(
        self,
        path: str,
        endpoint: Callable[[WebSocket], Awaitable[None]],
        name: str | None = None,
    ) -> None:
        """`websocket_route` without a decorator."""
        super().add_websocket_route(path, endpoint, name)
        self._own_version += 1

    def frontend(
        self,
        path: str,
        *,
        directory: str | os.PathLike[str],
        fallback: Fallback = "auto",
        check_dir: bool | Literal["auto"] = "auto",
    ) -> None:
        """Serves the built front end in `directory` at `path`, after all other routes.

        For a path without a file, `fallback` says what is sent: ``"index.html"`` (to page
        navigations, for client-side routing), ``"404.html"``, whichever of these exists
        (``"auto"``), or a plain 404 (`None`). `check_dir` says whether a missing directory is
        an error at once; by default it is, except in development.
        """
        checks = should_check_directory(directory, check_dir)
        if self._frontends is None:
            self._frontends = FrontendRouteGroup(
                dependencies=self.dependencies,
                dependency_overrides_provider=self.dependency_overrides_provider,
            )
            self.low_priority_routes.append(self._frontends)
        self._frontends.add(
            joined(self.prefix, normalized(path)),
            directory=directory,
            fallback=fallback,
            check_dir=checks,
        )
        self._own_version += 1

    def include_router(
        self,
        router: "APIRouter",
        *,
        prefix: str = "",
        tags: list[str | Enum] | None = None,
        dependencies: Sequence[params.Depends] | None = None,
        default_response_class: type[Response] = Default(JSONResponse),
        responses: dict[int | str, dict[str, Any]] | None = None,
        callbacks: list[BaseRoute] | None = None,
        deprecated: bool | None = None,
        include_in_schema: bool = True,
        generate_unique_id_function: Callable[[APIRoute], str] = Default(generate_unique_id),
    ) -> None:
        """Serves the routes of `router` behind `prefix`, with these options added to theirs.

        Its lifespan and its start-up and shutdown handlers run with this router's.
        """
        assert self is not router, (
            "Cannot include the same APIRouter instance into itself. "
            "Did you mean to include a different router?"
        )
        assert all(inside is not self for inside in router.routers()), (
            "Cannot include an APIRouter instance that already includes this router. "
            "Did you mean to include a different router?"
        )
        _check_prefix(prefix)
        if not prefix:
            _refuse_empty_paths(router)
        inclusion = Inclusion(
            router=router,
            prefix=self.prefix + prefix,
            tags=[*self.tags, *(tags or [])],
            dependencies=[*self.dependencies, *(dependencies or [])],
            default_response_class=first_set(default_response_class, self.default_response_class),
            responses={**self.responses, **(responses or {})},
            callbacks=[*self.callbacks, *(callbacks or [])],
            deprecated=deprecated or self.deprecated,
            include_in_schema=self.include_in_schema and include_in_schema,
            generate_unique_id_function=first_set(
                generate_unique_id_function, self.generate_unique_id_function
            ),
            strict_content_type=self.strict_content_type,
            dependency_overrides_provider=self.dependency_overrides_provider,
            limits=self.limits,
            deadline=self.deadline,
            cancel_on_disconnect=self.cancel_on_disconnect,
        )
        self.routes.append(IncludedRouter(inclusion))
        self._own_version += 1
        self.on_startup.extend(router.on_startup)
        self.on_shutdown.extend(router.on_shutdown)
        self.lifespan_context = nest(self.lifespan_context, router.lifespan_context)

    # Start and stop.

    async def _startup(self) -> None:
        await call_all(self.on_startup)

    async def _shutdown(self) -> None:
        await call_all(self.on_shutdown)

    def add_event_handler(self, event_type: str, func: Callable[[], Any]) -> None:
        """Runs `func` at ``"startup"`` or ``"shutdown"``, if there is no `lifespan`."""
        assert event_type in ("startup", "shutdown")
        (self.on_startup if event_type == "startup" else self.on_shutdown).append(func)

    def on_event(self, event_type: str) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """`add_event_handler` as a decorator."""

        def decorator(func: DecoratedCallable) -> DecoratedCallable:
            self.add_event_handler(event_type, func)
            return func

        return decorator

    # Serving.

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a request is for a route of this router, as the inclusion being tried sees it.

        An override is asked before the routes of an included router are tried.
        """
        inclusion = inclusion_of(scope, self)
        return (Match.NONE, {}) if inclusion is None else inclusion.find(scope)[:2]

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets the route answer that `matches` found; an override is called in its place."""
        inclusion = inclusion_of(scope, self)
        answer = self.app if inclusion is None else inclusion.handle_found
        await answer(scope, receive, send)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Finds the route and lets it answer; 404 if there is none."""
        assert scope["type"] in ("http", "websocket", "lifespan")
        scope.setdefault("router", self)
        if scope["type"] == "lifespan":
            await self.lifespan(scope, receive, send)
            return
        route, child_scope = self._first_match(scope)
        if route is None:
            redirect = self._redirect(scope)
            if redirect is not None:
                await redirect(scope, receive, send)
                return
            route, child_scope = self._last_match(scope)
        if route is None:
            await self.default(scope, receive, send)
            return
        scope.update(child_scope)
        is_mount = isinstance(route, routing.Mount)
        route_selected(scope, getattr(route, "path_format", None), is_mount)
        await route.handle(scope, receive, send)

    def _first_match(self, scope: Scope) -> tuple[BaseRoute | None, Scope]:
        partial: tuple[BaseRoute | None, Scope] = (None, {})
        for match, route, child_scope in self._search().matches(scope, get_route_path(scope)):
            if match == Match.FULL:
                return route, child_scope
            if partial[0] is None:
                partial = (route, child_scope)
        return partial

    def _search(self) -> RouteSearch:
        if self._searched is None or not self._searched[0].is_current():
            self._searched = (self.routes_seen(), RouteSearch(self.routes))
        return self._searched[1]

    def _redirect(self, scope: Scope) -> Response | None:
        """To the same path with, or without, a slash at its end, if there is a route."""
        path = get_route_path(scope)
        if scope["type"] != "http" or not self.redirect_slashes or path == "/":
            return None
        other = dict(scope)
        other["path"] = scope["path"].rstrip("/") if path.endswith("/") else scope["path"] + "/"
        for _, route, child_scope in self._search().matches(other, get_route_path(other)):
            found = matched_in(child_scope) or route
            route_selected(scope, getattr(found, "path_format", None))
            return RedirectResponse(url=str(URL(scope=other)))
        return None

    def _last_match(self, scope: Scope) -> tuple[BaseRoute | None, Scope]:
        """Of the routes that come last, the one that says most about the path."""
        best: dict[Match, tuple[BaseRoute, Scope]] = {}
        candidates = list(self.low_priority_routes)
        for route in self.routes:
            if isinstance(route, IncludedRouter):
                contexts = route.low_priority_contexts
                candidates += [context.effective or context.route for context in contexts]
        for route in candidates:
            match, found = route.matches(scope)
            if match == Match.NONE:
                continue
            if match not in best or found.get(SPECIFICITY, -1) > best[match][1].get(
                SPECIFICITY, -1
            ):
                best[match] = (route, found)
        return best.get(Match.FULL) or best.get(Match.PARTIAL) or (None, {})


def _check_prefix(prefix: str) -> None:
    if prefix:
        assert prefix.startswith("/"), "A path prefix must start with '/'"
        assert not prefix.endswith("/"), (
            "A path prefix must not end with '/', as the routes will start with '/'"
        )


def _refuse_empty_paths(router: APIRouter) -> None:
    for context in router.route_contexts():
        if context.path == "":
            raise FastAPIError(
                "Prefix and path cannot be both empty (path operation: "
                f"{context.name or 'unknown'})"
            )


for _method in (APIRouter.api_route, APIRouter.add_api_route):
    show_options(_method)
