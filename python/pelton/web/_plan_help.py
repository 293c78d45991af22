"""What compiled plans leave to Python: errors, responses of the user's own classes, clean-up."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import anyio.to_thread
from anyio import CancelScope
from pydantic import ValidationError as ValidationError
from pydantic_core import from_json as from_json
from starlette._exception_handler import _lookup_exception_handler
from starlette._utils import is_async_callable
from starlette.background import BackgroundTasks as StarletteBackgroundTasks
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response as Response
from starlette.types import Scope

from ._plan_overrides import overridden_node as overridden_node
from ._plan_overrides import solve_overridden as solve_overridden
from ._plan_threads import run_in_pool as run_in_pool
from ._request import FormRequest as Request
from .background import BackgroundTasks as BackgroundTasks
from .concurrency import shielded_exit
from .dependencies.body import request_body_to_args
from .dependencies.solve import SolvedDependency
from .dependencies.values import request_params_to_args
from .exceptions import FastAPIError, RequestValidationError, ResponseValidationError
from .fields import ModelField, get_missing_field_error
from .guard.app import GuardedApp as GuardedApp
from .guard.limits import rate_headers as rate_headers
from .middleware.asyncexitstack import FILES_STACK
from .routing.serialize import ResponsePlan
from .routing.streams import streaming
from .security.scopes import SecurityScopes

if TYPE_CHECKING:
    from .._core import TrackedSend
    from ._plan_layers import AppLayers
    from .routing.route import APIRoute

run_sync = anyio.to_thread.run_sync
"""Runs a callable in a thread of AnyIO's pool."""


# --- errors of a request ---


def missing(location: tuple[str, ...]) -> dict[str, Any]:
    """The error of a required value that is not there."""
    return get_missing_field_error(location)


def located(error: ValidationError, location: tuple[str, ...]) -> list[dict[str, Any]]:
    """Pydantic's errors, placed in the request."""
    return [
        {**detail, "loc": location + detail["loc"]} for detail in error.errors(include_url=False)
    ]


def read_group(
    fields: Sequence[ModelField], location: str, request: Request
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The values of `fields` from one part of the head, by the reference path."""
    parts: dict[str, Any] = {
        "path": lambda: request.path_params,
        "query": lambda: request.query_params,
        "header": lambda: Headers(scope=request.scope),
        "cookie": lambda: request.cookies,
    }
    return request_params_to_args(fields, parts[location]())


def body_error(error: Exception, route: APIRoute, scope: Scope) -> BaseException:
    """What is raised for a body that cannot be read: 422 for malformed JSON, else 400."""
    from json import JSONDecodeError

    if isinstance(error, HTTPException) or not isinstance(error, Exception):
        return error
    raised: Exception
    if isinstance(error, JSONDecodeError):
        detail = {
            "type": "json_invalid",
            "loc": ("body", error.pos),
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error.msg},
        }
        raised = request_invalid([detail], error.doc, route, scope)
    else:
        raised = HTTPException(status_code=400, detail="There was an error parsing the body")
    raised.__cause__ = error
    return raised


def request_invalid(
    errors: list[Any], body: Any, route: APIRoute, scope: Scope
) -> RequestValidationError:
    """What is raised for a request with `errors`."""
    return RequestValidationError(errors, body=body, endpoint_ctx=_context(route, scope))


def response_invalid(
    error: ValidationError, value: Any, route: APIRoute, scope: Scope
) -> ResponseValidationError:
    """What is raised for a result that the response model refuses."""
    errors = located(error, ("response",))
    return ResponseValidationError(errors, body=value, endpoint_ctx=_context(route, scope))


def _context(route: APIRoute, scope: Scope) -> Any:
    from .routing.handler import endpoint_context

    return endpoint_context(route.dependant, scope, scope["method"])


def not_awaited() -> FastAPIError:
    """What is raised when a dependency swallowed the exception that ended the request."""
    return FastAPIError(
        "Response not awaited. There's a high chance that the "
        "application code is raising an exception and a dependency with yield "
        "has a block with a bare except, or a block with except Exception, "
        "and is not raising the exception again. Read more about it in the "
        "docs: https://fastapi.tiangolo.com/tutorial/dependencies/"
        "dependencies-with-yield/#dependencies-with-yield-and-except"
    )


# --- responses ---


def temporal_response() -> Response:
    """A response that collects the headers and the status that dependencies set."""
    response = Response()
    del response.headers["content-length"]
    response.status_code = None  # type: ignore[assignment]
    return response


def security_scopes(scopes: list[str]) -> SecurityScopes:
    """The scopes asked of a dependency."""
    return SecurityScopes(scopes=scopes)


async def build_response(
    route: APIRoute,
    value: Any,
    background: StarletteBackgroundTasks | None,
    response: Response | None,
) -> Response:
    """The response for `value` by the reference path, for what the plan does not write itself."""
    return await _response_plan(route).respond(
        value,
        _solved(background, response),
        is_coroutine=route.dependant.kind.value == "coroutine",
        endpoint_ctx={},
    )


def _response_plan(route: APIRoute) -> ResponsePlan:
    return ResponsePlan(
        status_code=route.status_code,
        response_class=route.response_class,
        response_field=route.response_field,
        item_field=route.stream_item_field,
        include=route.response_model_include,
        exclude=route.response_model_exclude,
        by_alias=route.response_model_by_alias,
        exclude_unset=route.response_model_exclude_unset,
        exclude_defaults=route.response_model_exclude_defaults,
        exclude_none=route.response_model_exclude_none,
    )


def _solved(
    background: StarletteBackgroundTasks | None, response: Response | None
) -> SolvedDependency:
    return SolvedDependency(
        values={},
        errors=[],
        background_tasks=background,
        response=response or temporal_response(),
        dependency_cache={},
    )


async def build_stream(
    route: APIRoute,
    content: Any,
    background: StarletteBackgroundTasks | None,
    response: Response | None,
    request: Request,
) -> tuple[Response, AsyncExitStack]:
    """The response of what an endpoint yields, and a stack that ends what makes its items."""
    context = _context(route, request.scope)
    solved = _solved(background, response)
    respond = streaming(route.dependant, _response_plan(route), route.is_json_stream)
    async with AsyncExitStack() as stack:
        made = await respond(content, solved, context, stack)
        return made, stack.pop_all()


# --- forms ---


async def read_form(request: Request) -> tuple[Any, AsyncExitStack | None]:
    """The form, and a stack if one must close its files.

    Under ASGI a middleware's stack does that, as for the reference path.
    """
    outer: AsyncExitStack | None = request.scope.get(FILES_STACK)
    try:
        form = await request.form()
    except HTTPException:
        raise
    except Exception as error:
        detail = "There was an error parsing the body"
        raise HTTPException(status_code=400, detail=detail) from error
    files = AsyncExitStack() if outer is None else outer
    files.push_async_callback(form.close)
    return form, None if outer is files else files


form_values = request_body_to_args
"""What a callable takes from a form: its values, and the errors of those that are wrong."""


# --- leaving dependencies ---


class CleanupScope:
    """Entered before the first asynchronous generator: shields their clean-up, one at a time."""

    def __init__(self) -> None:
        self._scope = CancelScope()
        self._scope.__enter__()

    def over(self, manager: AbstractAsyncContextManager[Any]) -> AbstractAsyncContextManager[Any]:
        """`manager`, left with the shield up."""
        return shielded_exit(manager, self._scope)

    async def __aenter__(self) -> None:
        """Was entered when it was made."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Leaves the scope."""
        return bool(self._scope.__exit__(kind, error, traceback))


async def unwind(entries: list[Any], error: BaseException) -> bool:
    """Leaves what a request had entered, last first, with the exception that ended it.

    True: one of them swallowed it. Raises what one of them raised instead.
    """
    stack = AsyncExitStack()
    for entry in entries:
        if entry is not None:
            stack.push_async_exit(_as_manager(entry))
    return bool(await stack.__aexit__(type(error), error, error.__traceback__))


def _as_manager(entry: Any) -> AbstractAsyncContextManager[Any]:
    """A context manager of a generator that has yielded already, as `contextlib` would leave it."""
    if not hasattr(entry, "asend"):
        return cast("AbstractAsyncContextManager[Any]", entry)
    kind: Any = contextlib._AsyncGeneratorContextManager
    manager: Any = kind.__new__(kind)
    manager.gen = entry
    return cast("AbstractAsyncContextManager[Any]", manager)


async def not_stopped(generator: AsyncGenerator[Any, None]) -> None:
    """For a dependency that yielded twice: closes it and raises what `contextlib` raises."""
    try:
        raise RuntimeError("generator didn't stop")
    finally:
        await generator.aclose()


# --- exceptions ---


async def answer_error(error: Exception, request: Request, send: TrackedSend) -> None:
    """Answers with the handler for `error`; raises it if there is none."""
    scope = request.scope
    by_class, by_status = scope.get("starlette.exception_handlers", ({}, {}))
    handler = by_status.get(error.status_code) if isinstance(error, HTTPException) else None
    handler = handler or _lookup_exception_handler(by_class, error)
    if handler is None:
        raise error
    if send.started:
        raise RuntimeError("Caught handled exception, but response already started.") from error
    if is_async_callable(handler):
        response = await cast("Any", handler)(request, error)
    else:
        response = await run_in_threadpool(cast("Any", handler), request, error)
    if response is not None:
        await response(scope, request.receive, send)
    # An exception that is raised again and again must not collect tracebacks.
    error.__traceback__ = None


async def answer_as_app(
    error: Exception, request: Request, send: TrackedSend, layers: AppLayers
) -> Exception | None:
    """Answers as the whole app would; gives back the exception that nobody handled, if so."""
    # The route's own wrapper, then the middleware, which also handles errors of handlers.
    for _ in range(2):
        try:
            await answer_error(error, request, send)
            return None
        except Exception as unhandled:
            error = unhandled
    if not send.started:
        errors = layers.errors
        if errors.debug:
            response = errors.debug_response(request, error)
        elif errors.handler is None:
            response = errors.error_response(request, error)
        elif is_async_callable(errors.handler):
            response = await cast("Any", errors.handler)(request, error)
        else:
            response = await run_in_threadpool(cast("Any", errors.handler), request, error)
        await response(request.scope, request.receive, layers.outer(request.scope, send))
    return error
