"""Which interface an application has."""

from __future__ import annotations

import inspect
from typing import Any

from pelton.server.config import Config
from pelton.server.errors import StartupError

__all__ = ["adapt", "is_wsgi"]


def adapt(app: Any, config: Config) -> Any:
    """The application as ASGI 3.

    Raises StartupError where it is neither that nor WSGI, or not what the config says.
    """
    if not callable(app):
        raise StartupError(
            f"the application is {app!r}, which cannot be called: it must be an ASGI 3 or WSGI "
            "application",
            exit_code=2,
        )
    if config.interface == "asgi" or (config.interface == "auto" and not is_wsgi(app)):
        return app
    from pelton.server.wsgi import WSGIApp

    return WSGIApp(app, threads=config.wsgi_threads)


def is_wsgi(app: Any) -> bool:
    """Whether the application takes WSGI's two arguments, `environ` and `start_response`, and is no
    coroutine function.

    Raises StartupError for ASGI 2, which is called with the scope alone, and for what takes another
    number of arguments. What tells nothing of its arguments is taken for ASGI 3.
    """
    try:
        parameters = list(inspect.signature(app).parameters.values())
    except (TypeError, ValueError):
        return False
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return False
    positional = [
        parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    needed = [parameter for parameter in positional if parameter.default is parameter.empty]
    if len(needed) <= 3 <= len(positional):
        return False
    if len(needed) <= 2 <= len(positional) and not _is_coroutine(app):
        return True
    hint = "; ASGI 2 applications need an adapter" if len(needed) <= 1 else ""
    raise StartupError(
        f"the application {app!r} takes {len(needed)} arguments: ASGI 3 has three (scope, receive, "
        f"send), WSGI two (environ, start_response){hint}. Say which it is with interface='asgi' "
        "or 'wsgi'",
        exit_code=2,
    )


def _is_coroutine(app: Any) -> bool:
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(
        getattr(app, "__call__", None)  # noqa: B004  its function, not whether it has one
    )
