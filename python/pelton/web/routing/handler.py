"""The reference path: from a request to the endpoint and back, Starlette's way."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from starlette._exception_handler import wrap_app_handling_exceptions
from starlette._utils import is_async_callable
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

# Called through the package, by the names that instrumentation replaces there.
from .. import params, routing
from .._request import FormRequest
from ..annotations import lenient_issubclass
from ..background import commit_tasks
from ..datastructures import Default, DefaultPlaceholder
from ..dependencies.callables import CallKind
from ..dependencies.models import Dependant
from ..dependencies.solve import (
    FUNCTION_STACK,
    REQUEST_STACK,
    SolvedDependency,
)
from ..exceptions import (
    EndpointContext,
    FastAPIError,
    RequestValidationError,
    WebSocketRequestValidationError,
)
from ..fields import ModelField, Undefined
from ..middleware.asyncexitstack import FILES_STACK
from ..sse import EventSourceResponse
from ..telemetry.hooks import fill, operation, validation_failed
from ..types import IncEx
from .body import read_body
from .serialize import ResponsePlan
from .streams import streaming


def request_response(func: Callable[[Request], Awaitable[Response] | Response]) -> ASGIApp:
    """An ASGI app of a function from request to response.

    It owns the stacks that dependencies with ``yield`` are entered on: one closed when `func`
    has returned, one when the response is sent.
    """
    handle: Callable[[Request], Awaitable[Response]] = (
        func  # type: ignore[assignment]
        if is_async_callable(func)
        else functools.partial(run_in_threadpool, func)  # type: ignore[call-arg]
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = FormRequest(scope, receive, send)

        async def with_stacks(scope: Scope, receive: Receive, send: Send) -> None:
            is_sent = False
            async with AsyncExitStack() as request_stack:
                scope[REQUEST_STACK] = request_stack
                async with AsyncExitStack() as function_stack:
                    scope[FUNCTION_STACK] = function_stack
                    response = await handle(request)
                await commit_tasks(getattr(response, "background", None))
                await response(scope, receive, send)
                is_sent = True
            if not is_sent:
                # A dependency swallowed the exception that ended the endpoint.
                raise FastAPIError(
                    "Response not awaited. There's a high chance that the "
                    "application code is raising an exception and a dependency with yield "
                    "has a block with a bare except, or a block with except Exception, "
                    "and is not raising the exception again. Read more about it in the "
                    "docs: https://fastapi.tiangolo.com/tutorial/dependencies/"
                    "dependencies-with-yield/#dependencies-with-yield-and-except"
                )

        await wrap_app_handling_exceptions(with_stacks, request)(scope, receive, send)

    return app


def websocket_session(func: Callable[[WebSocket], Awaitable[None]]) -> ASGIApp:
    """An ASGI app of a function that serves a WebSocket, with the stacks of dependencies."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        session = WebSocket(scope, receive=receive, send=send)

        async def with_stacks(scope: Scope, receive: Receive, send: Send) -> None:
            async with AsyncExitStack() as request_stack:
                scope[REQUEST_STACK] = request_stack
                async with AsyncExitStack() as function_stack:
                    scope[FUNCTION_STACK] = function_stack
                    await func(session)

        await wrap_app_handling_exceptions(with_stacks, session)(scope, receive, send)

    return app


@functools.lru_cache(maxsize=4096)
def _source_of(call: Any) -> EndpointContext:
    context = EndpointContext()
    try:
        file = inspect.getsourcefile(call)
        if file is not None:
            context["file"] = file
        context["line"] = inspect.getsourcelines(call)[1]
        name = getattr(call, "__name__", None)
        if name is not None:
            context["function"] = name
    except (OSError, TypeError):
        # No source to show, as for functions made by exec; the path still says which it is.
        return EndpointContext()
    return context


def endpoint_context(dependant: Dependant, scope: Scope, method: str) -> EndpointContext:
    """Where the endpoint is, for the messages of validation errors."""
    try:
        context = EndpointContext(**_source_of(dependant.call))
    except TypeError:
        # A callable that cannot be a key of the cache.
        context = EndpointContext(**_source_of.__wrapped__(dependant.call))
    if dependant.path:
        context["path"] = f"{method} {scope.get('root_path', '').rstrip('/')}{dependant.path}"
    return context


def _stack(scope: Scope, name: str) -> AsyncExitStack:
    stack = scope.get(name)
    assert isinstance(stack, AsyncExitStack), f"{name} not found in request scope"
    return stack


def get_request_handler(
    dependant: Dependant,
    body_field: ModelField | None = None,
    status_code: int | None = None,
    response_class: type[Response] | DefaultPlaceholder = Default(JSONResponse),
    response_field: ModelField | None = None,
    response_model_include: IncEx | None = None,
    response_model_exclude: IncEx | None = None,
    response_model_by_alias: bool = True,
    response_model_exclude_unset: bool = False,
    response_model_exclude_defaults: bool = False,
    response_model_exclude_none: bool = False,
    dependency_overrides_provider: Any | None = None,
    embed_body_fields: bool = False,
    strict_content_type: bool | DefaultPlaceholder = Default(True),
    stream_item_field: ModelField | None = None,
    is_json_stream: bool = False,
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """The function from request to response of one path operation.

    It reads the body, solves the dependencies, calls the endpoint and serializes what that
    returns. Raises `RequestValidationError`, `ResponseValidationError` and whatever the app's
    own code raises.
    """
    assert dependant.call is not None, "dependant.call must be a function"
    plan = ResponsePlan(
        status_code=status_code,
        response_class=response_class,
        response_field=response_field,
        item_field=stream_item_field,
        include=response_model_include,
        exclude=response_model_exclude,
        by_alias=response_model_by_alias,
        exclude_unset=response_model_exclude_unset,
        exclude_defaults=response_model_exclude_defaults,
        exclude_none=response_model_exclude_none,
    )
    respond = _responder(dependant, plan, is_json_stream)
    is_form = body_field is not None and isinstance(body_field.field_info, params.Form)
    is_strict = bool(strict_content_type)

    async def handle(request: Request) -> Response:
        scope = request.scope
        fill(request=request)
        files = _stack(scope, FILES_STACK)
        context = endpoint_context(dependant, scope, request.method)
        body: Any = Undefined
        if body_field is not None:
            body = await read_body(
                request,
                is_form=is_form,
                strict_content_type=is_strict,
                files=files,
                endpoint_ctx=context,
            )
        given = None if body is Undefined else body
        fill(body=given)
        with operation("dependencies", dependant.call):
            solved = await routing.solve_dependencies(
                request=request,
                dependant=dependant,
                body=body,
                dependency_overrides_provider=dependency_overrides_provider,
                embed_body_fields=embed_body_fields,
            )
            fill(values=solved.values, errors=solved.errors)
        if solved.errors:
            invalid = RequestValidationError(solved.errors, body=given, endpoint_ctx=context)
            validation_failed(invalid)
            raise invalid
        return await respond(solved, context, _stack(scope, REQUEST_STACK))

    return handle


_Responder = Callable[[SolvedDependency, EndpointContext, AsyncExitStack], Awaitable[Response]]


def _responder(dependant: Dependant, plan: ResponsePlan, is_json_stream: bool) -> _Responder:
    """Calls the endpoint and makes the response, in the way that its kind needs."""
    call = dependant.call
    assert call is not None
    is_coroutine = dependant.kind is CallKind.coroutine

    async def value(
        solved: SolvedDependency, context: EndpointContext, stack: AsyncExitStack
    ) -> Response:
        content = await routing.run_endpoint_function(
            dependant=dependant, values=solved.values, is_coroutine=is_coroutine
        )
        if isinstance(content, Response):
            return await plan.respond(
                content, solved, is_coroutine=is_coroutine, endpoint_ctx=context
            )
        with operation("serialization", call):
            return await plan.respond(
                content, solved, is_coroutine=is_coroutine, endpoint_ctx=context
            )

    if not dependant.is_generator and not lenient_issubclass(
        plan.actual_class, EventSourceResponse
    ):
        return value
    respond = streaming(dependant, plan, is_json_stream)

    async def stream(
        solved: SolvedDependency, context: EndpointContext, stack: AsyncExitStack
    ) -> Response:
        return await respond(call(**solved.values), solved, context, stack)

    return stream


def get_websocket_app(
    dependant: Dependant,
    dependency_overrides_provider: Any | None = None,
    embed_body_fields: bool = False,
) -> Callable[[WebSocket], Coroutine[Any, Any, None]]:
    """The function that serves a WebSocket: solves the dependencies and calls the endpoint.

    Raises `WebSocketRequestValidationError` and whatever the app's own code raises.
    """
    call = dependant.call
    assert call is not None, "dependant.call must be a function"

    async def handle(websocket: WebSocket) -> None:
        fill(websocket=websocket)
        context = endpoint_context(dependant, websocket.scope, "WS")
        with operation("dependencies", call):
            solved = await routing.solve_dependencies(
                request=websocket,
                dependant=dependant,
                dependency_overrides_provider=dependency_overrides_provider,
                embed_body_fields=embed_body_fields,
            )
            fill(values=solved.values, errors=solved.errors)
        if solved.errors:
            invalid = WebSocketRequestValidationError(solved.errors, endpoint_ctx=context)
            validation_failed(invalid)
            raise invalid
        with operation("endpoint", call):
            await call(**solved.values)

    return handle
