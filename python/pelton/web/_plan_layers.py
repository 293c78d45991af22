"""What stands around an app's routes, for requests that the server hands to their plans."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Scope, Send

from .middleware.asyncexitstack import AsyncExitStackMiddleware
from .telemetry.hooks import ExceptionObserver

if TYPE_CHECKING:
    from .applications import FastAPI
    from .routing.route import APIRoute

# Key in the scope: the `send` outside of the layers that are not Starlette's own.
_OUTER = "pelton.outer_send"


class AppLayers:
    """The layers of an app: those that every app has, and of the others only some that would let
    a request pass as it is (`crates/pelton-python/src/web/layers.rs` says when)."""

    def __init__(self, app: FastAPI, errors: ServerErrorMiddleware) -> None:
        self.app = app
        self.errors = errors
        self.handlers: tuple[Any, Any] = ({}, {})
        self.hosts: list[list[str]] = []
        self._cors: CORSMiddleware | None = None

    @classmethod
    def of(cls, app: FastAPI) -> AppLayers | None:
        """The layers of `app`; `None` if there are others."""
        if app.middleware_stack is None:
            app.middleware_stack = app.build_middleware_stack()
        layer: Any = app.middleware_stack
        if type(layer) is not ServerErrorMiddleware:
            return None
        layers = cls(app, layer)
        layer = layer.app
        while layers._lets_pass(layer):
            layer = layer.app
        if type(layer) is not ExceptionMiddleware:
            return None
        layers.handlers = (layer._exception_handlers, layer._status_handlers)
        files: Any = layer.app
        if type(files) is not AsyncExitStackMiddleware or files.app is not app.router:
            return None
        return layers

    def _lets_pass(self, layer: Any) -> bool:
        if type(layer) is ExceptionObserver:
            return True
        if type(layer) is TrustedHostMiddleware:
            if not layer.allow_any:
                self.hosts.append(layer.allowed_hosts)
            return True
        if type(layer) is CORSMiddleware and self._cors is None:
            self._cors = layer
            return True
        return False

    @property
    def has_cors(self) -> bool:
        """Whether responses get what CORS adds."""
        return self._cors is not None

    def complete(self, scope: Scope, route: APIRoute, send: Send) -> Send:
        """Adds to a scope from the server what the layers and the router would have added; gives
        the `send` that they would have given to the route."""
        app = self.app
        if app.root_path:
            scope["root_path"] = app.root_path
        scope["app"] = app
        scope["router"] = app.router
        scope["starlette.exception_handlers"] = self.handlers
        scope["endpoint"] = route.endpoint
        scope["route"] = route.original_route
        if self._cors is None:
            return send
        scope[_OUTER] = send
        return partial(self._cors.send, send=send, request_headers=Headers(scope=scope))

    def outer(self, scope: Scope, send: Any) -> Any:
        """The `send` of the outermost layer, which answers what nobody handled."""
        return scope.get(_OUTER, send)
