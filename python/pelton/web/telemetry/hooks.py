"""Where the framework tells of a request what telemetry wants to know.

Nothing here imports OpenTelemetry: until a request is observed, each hook is one comparison.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from types import ModuleType

SCOPE_KEY = "fastapi.telemetry"
"""Key in the ASGI scope: the record of an observed request, or `None` for an excluded one."""

_NOT_OBSERVED: AbstractContextManager[None] = nullcontext()
_record: ModuleType | None = None


def activate(record: ModuleType) -> None:
    """From now on requests may be observed: hooks go to the functions of `record`."""
    global _record
    _record = record


def operation(name: str, function: Callable[..., Any] | None) -> AbstractContextManager[None]:
    """Entered around a part of a request: its span, named ``fastapi.<name>``."""
    if _record is None:
        return _NOT_OBSERVED
    context: AbstractContextManager[None] = _record.operation(name, function)
    return context


def run_traced(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Calls a blocking endpoint, in its thread, within its span."""
    with operation("endpoint", function):
        return function(**arguments)


def fill(**fields: Any) -> None:
    """Sets fields of the current request's `TelemetryData`."""
    if _record is not None:
        _record.fill(fields)


def validation_failed(error: Any) -> None:
    """Logs that the request did not fit what the endpoint declares."""
    if _record is not None:
        _record.validation_failed(error)


def route_selected(scope: MutableMapping[str, Any], path: str | None, mount: bool = False) -> None:
    """Names the request's span by its route; a `mount` is the beginning of a route's path."""
    if _record is not None and path is not None:
        _record.route_selected(scope.get(SCOPE_KEY), path, mount)


class ExceptionObserver:
    """Stands inside the handler of server errors: sees an exception before it is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app; what it raises is logged, and goes on."""
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            if _record is not None:
                _record.exception_raised(scope, error)
            raise
