"""Calling the dependencies of a request and collecting the arguments of its endpoint."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from anyio import CancelScope
from starlette.background import BackgroundTasks as StarletteBackgroundTasks
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from ..background import BackgroundTasks
from ..concurrency import (
    asynccontextmanager,
    contextmanager_in_threadpool,
    limited,
    shielded_exit,
)
from ..fields import Undefined
from ..security.scopes import SecurityScopes
from ..types import DependencyCacheKey
from .analysis import get_dependant
from .body import request_body_to_args
from .callables import CallKind
from .models import Dependant
from .values import request_params_to_args

REQUEST_STACK = "fastapi_inner_astack"
"""Key in the ASGI scope: what is closed after the response is sent."""

FUNCTION_STACK = "fastapi_function_astack"
"""Key in the ASGI scope: what is closed when the endpoint has returned."""

_SHIELDS = "fastapi_async_cleanup_scopes"


@dataclass
class SolvedDependency:
    """The arguments of a callable, or the `errors` that stand in their way.

    `response` collects the headers and the status that dependencies set.
    """

    values: dict[str, Any]
    errors: list[Any]
    background_tasks: StarletteBackgroundTasks | None
    response: Response
    dependency_cache: dict[DependencyCacheKey, Any]


@dataclass
class _Solver:
    """The state that all dependencies of one request share."""

    request: Request | WebSocket
    body: Any
    response: Response
    background_tasks: StarletteBackgroundTasks | None
    overrides_provider: Any | None
    embed_body_fields: bool
    cache: dict[DependencyCacheKey, Any]
    errors: list[Any] = field(default_factory=list)

    async def arguments(self, dependant: Dependant) -> dict[str, Any] | None:
        """The arguments of `dependant`; `None` if there were errors, which are kept."""
        before = len(self.errors)
        values: dict[str, Any] = {}
        for below in dependant.dependencies:
            # Looked up for each request: tests replace dependencies while the app runs.
            actual = self._overridden(below)
            arguments = await self.arguments(actual)
            if arguments is None:
                continue
            value = await self._value(below, actual, arguments)
            if below.name is not None:
                values[below.name] = value
        await self._read_request(dependant, values)
        self._provide(dependant, values)
        return values if len(self.errors) == before else None

    def _overridden(self, dependant: Dependant) -> Dependant:
        overrides = getattr(self.overrides_provider, "dependency_overrides", None)
        if not overrides:
            return dependant
        assert dependant.call is not None
        assert dependant.path is not None
        return get_dependant(
            path=dependant.path,
            call=overrides.get(dependant.call, dependant.call),
            name=dependant.name,
            parent_oauth_scopes=dependant.oauth_scopes,
            scope=dependant.scope,
            concurrency=dependant.concurrency,
        )

    async def _value(
        self, declared: Dependant, actual: Dependant, arguments: dict[str, Any]
    ) -> Any:
        key = declared.cache_key
        if declared.use_cache and key in self.cache:
            return self.cache[key]
        if actual.is_generator:
            name = FUNCTION_STACK if declared.scope == "function" else REQUEST_STACK
            value = await self._enter(actual, arguments, self.request.scope[name])
        else:
            value = await _call(actual, arguments)
        self.cache.setdefault(key, value)
        return value

    async def _enter(
        self, dependant: Dependant, arguments: dict[str, Any], stack: AsyncExitStack
    ) -> Any:
        call: Callable[..., Any] | None = dependant.call
        assert call is not None
        manager: AbstractAsyncContextManager[Any]
        if dependant.kind is CallKind.async_generator:
            manager = shielded_exit(asynccontextmanager(call)(**arguments), self._shield())
        else:
            manager = contextmanager_in_threadpool(contextmanager(call)(**arguments))
        if dependant.concurrency is not None:
            manager = limited(manager, dependant.concurrency.semaphore())
        return await stack.enter_async_context(manager)

    def _shield(self) -> CancelScope:
        """The request's scope against cancellation during clean-up, entered before all others."""
        scope = self.request.scope
        stack: AsyncExitStack = scope[REQUEST_STACK]
        shields: dict[AsyncExitStack, CancelScope] = scope.setdefault(_SHIELDS, {})
        if stack not in shields:
            shields[stack] = stack.enter_context(CancelScope())
            stack.callback(shields.pop, stack)
        return shields[stack]

    async def _read_request(self, dependant: Dependant, values: dict[str, Any]) -> None:
        request = self.request
        if dependant.path_params:
            self._take(request_params_to_args(dependant.path_params, request.path_params), values)
        if dependant.query_params:
            self._take(request_params_to_args(dependant.query_params, request.query_params), values)
        if dependant.header_params:
            self._take(request_params_to_args(dependant.header_params, request.headers), values)
        if dependant.cookie_params:
            self._take(request_params_to_args(dependant.cookie_params, request.cookies), values)
        if dependant.body_params:
            result = await request_body_to_args(
                dependant.body_params, self.body, self.embed_body_fields
            )
            self._take(result, values)

    def _take(
        self, result: tuple[dict[str, Any], list[dict[str, Any]]], values: dict[str, Any]
    ) -> None:
        values.update(result[0])
        self.errors.extend(result[1])

    def _provide(self, dependant: Dependant, values: dict[str, Any]) -> None:
        request = self.request
        if dependant.http_connection_param_name:
            values[dependant.http_connection_param_name] = request
        if dependant.request_param_name and isinstance(request, Request):
            values[dependant.request_param_name] = request
        elif dependant.websocket_param_name and isinstance(request, WebSocket):
            values[dependant.websocket_param_name] = request
        if dependant.background_tasks_param_name:
            if self.background_tasks is None:
                self.background_tasks = BackgroundTasks()
            values[dependant.background_tasks_param_name] = self.background_tasks
        if dependant.response_param_name:
            values[dependant.response_param_name] = self.response
        if dependant.security_scopes_param_name:
            scopes = SecurityScopes(scopes=dependant.oauth_scopes)
            values[dependant.security_scopes_param_name] = scopes


async def _call(dependant: Dependant, arguments: dict[str, Any]) -> Any:
    call = dependant.call
    assert call is not None
    if dependant.concurrency is not None:
        async with dependant.concurrency.semaphore():
            return await _call_now(dependant.kind, call, arguments)
    return await _call_now(dependant.kind, call, arguments)


async def _call_now(kind: CallKind, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    if kind is CallKind.coroutine:
        return await call(**arguments)
    return await run_in_threadpool(call, **arguments)


def blank_response() -> Response:
    """A response that says nothing yet, for endpoints and dependencies to write on."""
    response = Response()
    del response.headers["content-length"]
    response.status_code = None  # type: ignore[assignment]
    return response


async def solve_dependencies(
    *,
    request: Request | WebSocket,
    dependant: Dependant,
    body: Any = Undefined,
    background_tasks: StarletteBackgroundTasks | None = None,
    response: Response | None = None,
    dependency_overrides_provider: Any | None = None,
    dependency_cache: dict[DependencyCacheKey, Any] | None = None,
    async_exit_stack: AsyncExitStack | None = None,
    embed_body_fields: bool,
) -> SolvedDependency:
    """Calls what `dependant` depends on, in order, and reads its arguments from the request.

    Dependencies with ``yield`` are entered on the stacks in the request's scope, whose owner
    closes them. `async_exit_stack` is not used; it is there for callers of FastAPI's function.
    Errors in the request are collected, not raised; what a dependency raises comes through.
    """
    for key in (REQUEST_STACK, FUNCTION_STACK):
        assert isinstance(request.scope.get(key), AsyncExitStack), (
            f"{key} not found in request scope"
        )
    solver = _Solver(
        request=request,
        body=body,
        response=blank_response() if response is None else response,
        background_tasks=background_tasks,
        overrides_provider=dependency_overrides_provider,
        embed_body_fields=embed_body_fields,
        cache={} if dependency_cache is None else dependency_cache,
    )
    values = await solver.arguments(dependant)
    return SolvedDependency(
        values={} if values is None else values,
        errors=solver.errors,
        background_tasks=solver.background_tasks,
        response=solver.response,
        dependency_cache=solver.cache,
    )
