"""What stands around an app's routes, for requests that the server hands to their plans."""

from __future__ import annotations

import sys
from copy import copy
from typing import TYPE_CHECKING, Any

from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import Receive, Scope, Send

from .middleware.asyncexitstack import AsyncExitStackMiddleware
from .telemetry.hooks import ExceptionObserver

if TYPE_CHECKING:
    from .applications import FastAPI
    from .routing.route import APIRoute

# Key in the scope: the `send` outside of the layers that are not Starlette's own.
_OUTER = "pelton.outer_send"
# Key in the scope: the `send` that a layer gave to what is inside it.
_INNER = "pelton.inner_send"

Kind = tuple[Any, ...]
"""What a layer does to requests and responses (see ``web/layers.rs``)."""


class AppLayers:
    """The layers of an app: those that every app has, and of the others only some that let a
    request pass, and of which it is known which responses they change
    (`crates/pelton-python/src/web/layers.rs`)."""

    def __init__(self, app: FastAPI, errors: ServerErrorMiddleware) -> None:
        self.app = app
        self.errors = errors
        self.handlers: tuple[Any, Any] = ({}, {})
        self.kinds: list[Kind] = []
        # Those that may change a response, outermost first, each around nothing.
        self._around: list[Any] = []

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
        kind = _kind_of(layer)
        # Of two that add the same fields, each would have to see what the other did.
        if kind is None or (kind[0] == "cors" and any(known[0] == "cors" for known in self.kinds)):
            return False
        if kind == ("hosts", None):
            return True
        self.kinds.append(kind)
        if kind[0] != "hosts":
            alone = copy(layer)
            alone.app = _inside
            self._around.append(alone)
        return True

    def complete(self, scope: Scope, route: APIRoute, receive: Receive, send: Send) -> Send:
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
        if not self._around:
            return send
        scope[_OUTER] = send
        for layer in self._around:
            # None of them waits for anything before what is inside is called, or does anything
            # after it, so this is all of it.
            _run(layer(scope, receive, send))
            send = scope.pop(_INNER)
        return send

    def outer(self, scope: Scope, send: Any) -> Any:
        """The `send` of the outermost layer, which answers what nobody handled."""
        return scope.get(_OUTER, send)


async def _inside(scope: Scope, receive: Receive, send: Send) -> None:
    scope[_INNER] = send


def _run(entering: Any) -> None:
    """Runs a coroutine that does not wait."""
    try:
        entering.send(None)
    except StopIteration:
        return
    entering.close()
    raise RuntimeError(f"{entering.__qualname__} waited")


def _kind_of(layer: Any) -> Kind | None:
    """What a layer does; `None` if that is not known."""
    kind = type(layer)
    if kind is _loaded("starlette.middleware.trustedhost", "TrustedHostMiddleware"):
        return ("hosts", None if layer.allow_any else list(layer.allowed_hosts))
    if kind is _loaded("starlette.middleware.cors", "CORSMiddleware"):
        simple = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in layer.simple_headers.items()
        ]
        mirrors = (layer.allow_all_origins, layer.allow_credentials)
        return ("cors", layer.is_allowed_origin, simple, *mirrors)
    if kind is _loaded("starlette.middleware.gzip", "GZipMiddleware"):
        # Those of Starlette's first versions close their file when what is inside has returned.
        if "__call__" in vars(_loaded("starlette.middleware.gzip", "GZipResponder")):
            return None
        return ("compression", layer.minimum_size)
    if kind is _loaded("pelton.web.middleware.compression", "CompressionMiddleware"):
        return ("compression", 0)
    if kind is _loaded("starlette.middleware.sessions", "SessionMiddleware"):
        return ("session",)
    return None


def _loaded(module: str, name: str) -> Any:
    """A class, if its module was ever imported: without that, nothing is an instance of it."""
    return getattr(sys.modules.get(module), name, None)
