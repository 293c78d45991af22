"""The app."""

import os
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any, Literal, TypeVar

from starlette.applications import Starlette
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, ExceptionHandler, Lifespan, Receive, Scope, Send
from typing_extensions import Unpack, deprecated

from .. import _core
from .datastructures import Default
from .exception_handlers import (
    http_exception_handler,
    request_validation_exception_handler,
    websocket_request_validation_exception_handler,
)
from .exceptions import (
    FastAPIDeprecationWarning,
    RequestValidationError,
    WebSocketRequestValidationError,
)
from .guard.app import DeadlineOption
from .guard.limits import Limit
from .middleware.asyncexitstack import AsyncExitStackMiddleware
from .openapi import assets
from .openapi.docs import (
    get_redoc_html,
    get_swagger_ui_html,
    get_swagger_ui_oauth2_redirect_html,
)
from .params import Depends
from .routing.frontend import Fallback, should_check_directory
from .routing.lifespan import nest
from .routing.operations import Operations
from .routing.options import OperationOptions, show_options
from .routing.route import APIRoute
from .routing.router import APIRouter
from .staticfiles import StaticFiles
from .telemetry import TelemetryConfig
from .telemetry.data import complete
from .telemetry.hooks import SCOPE_KEY, ExceptionObserver
from .types import DecoratedCallable
from .utils import generate_unique_id

AppType = TypeVar("AppType", bound="FastAPI")

ASSETS_URL = "/_docs_assets"
"""Where an app serves the files of its documentation pages, if it has them."""


class FastAPI(Operations, Starlette):
    """A web app: path operations, their documentation, middleware and error handlers.

    The arguments are FastAPI's. `jobs` is Pelton's: a `pelton.jobs.Jobs` that is started before
    the app's own lifespan and stopped after it. `telemetry` says what of its requests is observed,
    see `pelton.web.telemetry`; `limits`, `deadline` and `cancel_on_disconnect` hold for all path
    operations, see `OperationOptions`. Further arguments are kept in `extra`.
    """

    def __init__(
        self: AppType,
        *,
        debug: bool = False,
        routes: list[BaseRoute] | None = None,
        title: str = "FastAPI",
        summary: str | None = None,
        description: str = "",
        version: str = "0.1.0",
        openapi_url: str | None = "/openapi.json",
        openapi_tags: list[dict[str, Any]] | None = None,
        servers: list[dict[str, str | Any]] | None = None,
        dependencies: Sequence[Depends] | None = None,
        default_response_class: type[Response] = Default(JSONResponse),
        redirect_slashes: bool = True,
        docs_url: str | None = "/docs",
        redoc_url: str | None = "/redoc",
        swagger_ui_oauth2_redirect_url: str | None = "/docs/oauth2-redirect",
        swagger_ui_init_oauth: dict[str, Any] | None = None,
        middleware: Sequence[Middleware] | None = None,
        exception_handlers: dict[
            int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]
        ]
        | None = None,
        on_startup: Sequence[Callable[[], Any]] | None = None,
        on_shutdown: Sequence[Callable[[], Any]] | None = None,
        lifespan: Lifespan[AppType] | None = None,
        terms_of_service: str | None = None,
        contact: dict[str, str | Any] | None = None,
        license_info: dict[str, str | Any] | None = None,
        root_path: str = "",
        root_path_in_servers: bool = True,
        responses: dict[int | str, dict[str, Any]] | None = None,
        callbacks: list[BaseRoute] | None = None,
        webhooks: APIRouter | None = None,
        deprecated: bool | None = None,
        include_in_schema: bool = True,
        swagger_ui_parameters: dict[str, Any] | None = None,
        generate_unique_id_function: Callable[[APIRoute], str] = Default(generate_unique_id),
        separate_input_output_schemas: bool = True,
        openapi_external_docs: dict[str, Any] | None = None,
        strict_content_type: bool = Default(True),
        telemetry: TelemetryConfig | None = None,
        limits: Sequence[Limit] | None = None,
        deadline: DeadlineOption = None,
        cancel_on_disconnect: bool | None = None,
        jobs: Any | None = None,
        **extra: Any,
    ) -> None:
        self.debug = debug
        self.title = title
        self.summary = summary
        self.description = description
        self.version = version
        self.terms_of_service = terms_of_service
        self.contact = contact
        self.license_info = license_info
        self.openapi_url = openapi_url
        self.openapi_tags = openapi_tags
        self.root_path_in_servers = root_path_in_servers
        self.docs_url = docs_url
        self.redoc_url = redoc_url
        self.swagger_ui_oauth2_redirect_url = swagger_ui_oauth2_redirect_url
        self.swagger_ui_init_oauth = swagger_ui_init_oauth
        self.swagger_ui_parameters = swagger_ui_parameters
        self.servers = servers or []
        self.separate_input_output_schemas = separate_input_output_schemas
        self.openapi_external_docs = openapi_external_docs
        self.extra = extra
        self.openapi_version = "3.1.0"
        self.openapi_schema: dict[str, Any] | None = None
        self._openapi_seen: _core.RoutesSeen | None = None
        if openapi_url:
            assert title, "A title must be provided for OpenAPI, e.g.: 'My API'"
            assert version, "A version must be provided for OpenAPI, e.g.: '2.1.0'"
        self.webhooks: APIRouter = webhooks or APIRouter()
        if root_path:
            warnings.warn(
                "The `root_path` parameter is deprecated. Configure the server's root path "
                "instead, for example with `pelton serve --root-path /api/v1` "
                "(FastAPI's command: `fastapi run --root-path /api/v1`).",
                category=FastAPIDeprecationWarning,
                stacklevel=2,
            )
        self.root_path = root_path
        self.state: State = State()
        self.dependency_overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        self.jobs = jobs
        self.router: APIRouter = APIRouter(
            routes=routes,
            redirect_slashes=redirect_slashes,
            dependency_overrides_provider=self,
            on_startup=on_startup,
            on_shutdown=on_shutdown,
            lifespan=lifespan,
            default_response_class=default_response_class,
            dependencies=dependencies,
            callbacks=callbacks,
            deprecated=deprecated,
            include_in_schema=include_in_schema,
            responses=responses,
            generate_unique_id_function=generate_unique_id_function,
            strict_content_type=strict_content_type,
            limits=limits,
            deadline=deadline,
            cancel_on_disconnect=cancel_on_disconnect,
        )
        if jobs is not None:
            self.router.lifespan_context = nest(_jobs_lifespan(jobs), self.router.lifespan_context)
        self.exception_handlers: dict[
            Any, Callable[[Request, Any], Response | Awaitable[Response]]
        ] = dict(exception_handlers or {})
        for error, handler in _DEFAULT_HANDLERS.items():
            self.exception_handlers.setdefault(error, handler)
        self._telemetry = complete(telemetry)
        self._native_telemetry: Any = None
        self.user_middleware: list[Middleware] = list(middleware or [])
        self.middleware_stack: ASGIApp | None = None
        self.setup()

    # The document and its pages.

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document; made when first asked for and when routes have been added."""
        # It brings the document's models, whose making takes a good part of an app's start.
        from .openapi.utils import get_openapi

        is_current = self._openapi_seen is not None and self._openapi_seen.is_current()
        if not self.openapi_schema or not is_current:
            seen = self.router.routes_seen()
            self.openapi_schema = get_openapi(
                title=self.title,
                version=self.version,
                openapi_version=self.openapi_version,
                summary=self.summary,
                description=self.description,
                terms_of_service=self.terms_of_service,
                contact=self.contact,
                license_info=self.license_info,
                routes=self.routes,
                webhooks=self.webhooks.routes,
                tags=self.openapi_tags,
                servers=self.servers,
                separate_input_output_schemas=self.separate_input_output_schemas,
                external_docs=self.openapi_external_docs,
            )
            self._openapi_seen = seen
        return self.openapi_schema

    def setup(self) -> None:
        """Adds the routes of the OpenAPI document and its pages. Called by the constructor."""
        if not self.openapi_url:
            return
        self.add_route(self.openapi_url, self._serve_openapi, include_in_schema=False)
        if self.docs_url:
            self.add_route(self.docs_url, self._serve_swagger, include_in_schema=False)
            if self.swagger_ui_oauth2_redirect_url:
                self.add_route(
                    self.swagger_ui_oauth2_redirect_url,
                    self._serve_oauth2_redirect,
                    include_in_schema=False,
                )
        if self.redoc_url:
            self.add_route(self.redoc_url, self._serve_redoc, include_in_schema=False)
        directory = assets.assets_directory()
        if directory is not None and (self.docs_url or self.redoc_url):
            self.mount(ASSETS_URL, StaticFiles(directory=directory), name="docs_assets")

    async def _serve_openapi(self, request: Request) -> JSONResponse:
        root_path = _root_path(request)
        document = self.openapi()
        if root_path and self.root_path_in_servers:
            servers = document.get("servers", [])
            if root_path not in {server.get("url") for server in servers}:
                document = {**document, "servers": [{"url": root_path}, *servers]}
        return JSONResponse(document)

    async def _serve_swagger(self, request: Request) -> HTMLResponse:
        root_path = _root_path(request)
        redirect_url = self.swagger_ui_oauth2_redirect_url
        local = {
            "swagger_js_url": assets.SWAGGER_JS,
            "swagger_css_url": assets.SWAGGER_CSS,
            "swagger_favicon_url": assets.FAVICON,
        }
        return get_swagger_ui_html(
            openapi_url=f"{root_path}{self.openapi_url}",
            title=f"{self.title} - Swagger UI",
            oauth2_redirect_url=root_path + redirect_url if redirect_url else None,
            init_oauth=self.swagger_ui_init_oauth,
            swagger_ui_parameters=self.swagger_ui_parameters,
            **_local_urls(root_path, local),
        )

    async def _serve_oauth2_redirect(self, request: Request) -> HTMLResponse:
        return get_swagger_ui_oauth2_redirect_html()

    async def _serve_redoc(self, request: Request) -> HTMLResponse:
        root_path = _root_path(request)
        local = {"redoc_js_url": assets.REDOC_JS, "redoc_favicon_url": assets.FAVICON}
        urls = _local_urls(root_path, local)
        return get_redoc_html(
            openapi_url=f"{root_path}{self.openapi_url}",
            title=f"{self.title} - ReDoc",
            with_google_fonts=not urls,
            **urls,
        )

    # Serving.

    def build_middleware_stack(self) -> ASGIApp:
        """The router inside the error handlers, inside the app's middleware."""
        error_handler = None
        handlers: dict[Any, ExceptionHandler] = {}
        for key, value in self.exception_handlers.items():
            if key in (500, Exception):
                error_handler = value
            else:
                handlers[key] = value
        layers = [
            Middleware(ServerErrorMiddleware, handler=error_handler, debug=self.debug),
            Middleware(ExceptionObserver),
            *self.user_middleware,
            Middleware(ExceptionMiddleware, handlers=handlers, debug=self.debug),
            Middleware(AsyncExitStackMiddleware),
        ]
        app: ASGIApp = self.router
        for layer, args, kwargs in reversed(layers):
            app = layer(app, *args, **kwargs)
        return app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app as ASGI calls it."""
        if self.root_path:
            scope["root_path"] = self.root_path
        serve = super().__call__
        if scope["type"] == "lifespan":
            await self._live(serve, scope, receive, send)
            return
        telemetry = None if SCOPE_KEY in scope else self.observer()
        if telemetry is None:
            await serve(scope, receive, send)
            return
        from .telemetry._asgi import has_contrib_middleware

        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        scope["app"] = self
        legacy = has_contrib_middleware(self.middleware_stack)
        await telemetry(app=serve, scope=scope, receive=receive, send=send, legacy_otel=legacy)

    async def _live(self, serve: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """The lifespan, with what telemetry does before and after it."""
        runtime = f"{__package__}.telemetry._runtime"
        if not self._telemetry["auto_configure"] and runtime not in sys.modules:
            await serve(scope, receive, send)
            return
        from .telemetry._runtime import lifespan

        config = self._telemetry
        await lifespan(config=config, app=serve, scope=scope, receive=receive, send=send)

    def observer(self) -> Any | None:
        """What observes this app's requests; `None` while nothing is asked for or set up."""
        if "opentelemetry.trace" not in sys.modules:
            # Nobody can have set a provider without it, and it costs to import.
            return None
        if self._native_telemetry is None:
            from .telemetry._asgi import NativeTelemetry

            self._native_telemetry = NativeTelemetry(self._telemetry)
        return self._native_telemetry if self._native_telemetry.enabled() else None

    # Declaring. The router does it; see `APIRouter` for what each does.

    def _operation(self, path: str, method: str, options: OperationOptions) -> Any:
        return getattr(self.router, method.lower())(path, **options)

    def api_route(
        self, path: str, *, methods: list[str] | None = None, **options: Unpack[OperationOptions]
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Answers `methods` of `path` (``GET`` by default)."""
        return self.router.api_route(path, methods=methods, **options)

    def add_api_route(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: list[str] | None = None,
        **options: Unpack[OperationOptions],
    ) -> None:
        """`api_route` without a decorator."""
        self.router.add_api_route(path, endpoint, methods=methods, **options)

    def websocket(
        self,
        path: str,
        name: str | None = None,
        *,
        dependencies: Sequence[Depends] | None = None,
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Serves WebSockets at `path`."""
        return self.router.websocket(path, name, dependencies=dependencies)

    def add_api_websocket_route(
        self,
        path: str,
        endpoint: Callable[..., Any],
        name: str | None = None,
        *,
        dependencies: Sequence[Depends] | None = None,
    ) -> None:
        """`websocket` without a decorator."""
        self.router.add_api_websocket_route(path, endpoint, name=name, dependencies=dependencies)

    def websocket_route(
        self, path: str, name: str | None = None
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Serves WebSockets at `path` with a function of Starlette's WebSocket only."""
        return self.router.websocket_route(path, name)

    def frontend(
        self,
        path: str,
        *,
        directory: str | os.PathLike[str],
        fallback: Fallback = "auto",
        check_dir: bool | Literal["auto"] = "auto",
    ) -> None:
        """Serves a built front end after all other routes; see `APIRouter.frontend`."""
        checks = should_check_directory(directory, check_dir)
        self.router.frontend(path, directory=directory, fallback=fallback, check_dir=checks)

    def include_router(
        self,
        router: APIRouter,
        *,
        prefix: str = "",
        tags: list[str | Enum] | None = None,
        dependencies: Sequence[Depends] | None = None,
        responses: dict[int | str, dict[str, Any]] | None = None,
        deprecated: bool | None = None,
        include_in_schema: bool = True,
        default_response_class: type[Response] = Default(JSONResponse),
        callbacks: list[BaseRoute] | None = None,
        generate_unique_id_function: Callable[[APIRoute], str] = Default(generate_unique_id),
    ) -> None:
        """Serves the routes of `router` behind `prefix`; see `APIRouter.include_router`."""
        self.router.include_router(
            router,
            prefix=prefix,
            tags=tags,
            dependencies=dependencies,
            responses=responses,
            deprecated=deprecated,
            include_in_schema=include_in_schema,
            default_response_class=default_response_class,
            callbacks=callbacks,
            generate_unique_id_function=generate_unique_id_function,
        )

    @deprecated(
        "on_event is deprecated, use lifespan event handlers instead.\n\n"
        "Read more about it in the FastAPI docs for Lifespan Events: "
        "https://fastapi.tiangolo.com/advanced/events/"
    )
    def on_event(self, event_type: str) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Runs the function at ``"startup"`` or ``"shutdown"``; deprecated for `lifespan`."""
        return self.router.on_event(event_type)

    def middleware(self, middleware_type: str) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Wraps every request in the function, which gets the request and ``call_next``."""

        def decorator(func: DecoratedCallable) -> DecoratedCallable:
            self.add_middleware(BaseHTTPMiddleware, dispatch=func)
            return func

        return decorator

    def exception_handler(
        self, exc_class_or_status_code: int | type[Exception]
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Answers an exception, or a status that was raised, with the function's response."""

        def decorator(func: DecoratedCallable) -> DecoratedCallable:
            self.add_exception_handler(exc_class_or_status_code, func)
            return func

        return decorator


_DEFAULT_HANDLERS: dict[Any, Any] = {
    HTTPException: http_exception_handler,
    RequestValidationError: request_validation_exception_handler,
    WebSocketRequestValidationError: websocket_request_validation_exception_handler,
}

for _method in (FastAPI.api_route, FastAPI.add_api_route):
    show_options(_method)


def _root_path(request: Request) -> str:
    path: str = request.scope.get("root_path", "")
    return path.rstrip("/")


def _local_urls(root_path: str, names: dict[str, str]) -> dict[str, Any]:
    """Where the page finds its files on this app; nothing if they are not installed."""
    if assets.assets_directory() is None:
        return {}
    return {argument: f"{root_path}{ASSETS_URL}/{name}" for argument, name in names.items()}


def _jobs_lifespan(jobs: Any) -> Lifespan[Any]:
    """Starts `jobs` before what is inside and stops it after, if it has a start and a stop."""

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        start, stop = getattr(jobs, "start", None), getattr(jobs, "stop", None)
        if start is not None:
            await start()
        try:
            yield
        finally:
            if stop is not None:
                await stop()

    return lifespan
