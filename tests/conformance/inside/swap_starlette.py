"""A pytest plugin: puts pelton.web's classes where Starlette has those that they stand for.

A plugin, and not read by every interpreter like `swap`: pytest wants to import AnyIO itself.
"""

from __future__ import annotations

import os
from typing import Any


def swap() -> None:
    """From here on, whoever imports an app, a router or a route of Starlette gets ours."""
    import starlette.applications
    import starlette.background
    import starlette.routing

    from pelton import web
    from pelton.web.applications import _DEFAULT_HANDLERS

    class Starlette(web.FastAPI):
        """`FastAPI` with Starlette's signature, and no routes of its own."""

        def __init__(
            self,
            debug: bool = False,
            routes: Any = None,
            middleware: Any = None,
            exception_handlers: Any = None,
            lifespan: Any = None,
            **more: Any,
        ) -> None:
            super().__init__(
                debug=debug,
                routes=None if routes is None else list(routes),
                middleware=middleware,
                exception_handlers=exception_handlers,
                lifespan=lifespan,
                openapi_url=None,
                **more,
            )
            # FastAPI answers these as JSON.
            for error in _DEFAULT_HANDLERS.keys() - (exception_handlers or {}).keys():
                del self.exception_handlers[error]

    class Router(web.APIRouter):
        """`APIRouter` with Starlette's positional parameters."""

        def __init__(
            self,
            routes: Any = None,
            redirect_slashes: bool = True,
            default: Any = None,
            lifespan: Any = None,
            *,
            middleware: Any = None,
        ) -> None:
            super().__init__(
                routes=None if routes is None else list(routes),
                redirect_slashes=redirect_slashes,
                default=default,
                lifespan=lifespan,
            )
            for cls, args, kwargs in reversed(middleware or []):
                self.middleware_stack = cls(self.middleware_stack, *args, **kwargs)

    # Not the exceptions and UploadFile: Starlette's own code makes these, before and after.
    modules: list[tuple[Any, str, type]] = [
        (starlette.applications, "Starlette", Starlette),
        (starlette.routing, "Router", Router),
        (starlette.background, "BackgroundTasks", web.BackgroundTasks),
    ]
    for module, name, ours in modules:
        setattr(module, name, ours)


if os.environ.get("PELTON_LOOP") == "pelton":
    swap()
