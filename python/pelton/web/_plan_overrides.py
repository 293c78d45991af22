"""Dependencies that are overridden while a plan's request is under way."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.background import BackgroundTasks
from starlette.requests import Request
from starlette.responses import Response

from ._plan_spec import NodeSpec
from .dependencies.models import Dependant
from .dependencies.solve import FUNCTION_STACK, REQUEST_STACK, solve_dependencies
from .fields import Undefined

if TYPE_CHECKING:
    from .routing.route import APIRoute


@dataclass(frozen=True, slots=True)
class Solved:
    """A dependency that the reference path has solved: its value, or the errors of the request.

    `shared` are values that later dependencies may take, by their slots; the stacks are to be
    left as those of a request are.
    """

    value: Any
    errors: list[Any]
    background: BackgroundTasks | None
    response: Response
    shared: dict[int, Any]
    request_stack: AsyncExitStack
    function_stack: AsyncExitStack


def overridden_node(route: APIRoute, nodes: list[NodeSpec], index: int) -> int | None:
    """The outermost of the nodes whose solving begins at `index` that is overridden now."""
    overrides = route.dependency_overrides_provider.dependency_overrides  # type: ignore[union-attr]
    for number in range(len(nodes) - 2, index - 1, -1):
        node = nodes[number]
        assert node.dependant is not None
        if node.first == index and node.dependant.call in overrides:
            return number
    return None


async def solve_overridden(
    route: APIRoute,
    nodes: list[NodeSpec],
    number: int,
    *,
    request: Request,
    body: Any = Undefined,
    background: BackgroundTasks | None,
    response: Response,
    shared: dict[int, Any],
) -> Solved:
    """Solves one node as the reference path does, with what was `shared` until now.

    `body` is the request's as it was parsed; not given: there is none.
    What it entered is left at once if it raises.
    """
    node = nodes[number]
    assert node.dependant is not None
    keys = {item.cache_slot: item.dependant.cache_key for item in nodes[:-1] if item.dependant}
    caller = Dependant(dependencies=[node.dependant], path=node.dependant.path)
    async with AsyncExitStack() as both:
        request_stack = await both.enter_async_context(AsyncExitStack())
        function_stack = await both.enter_async_context(AsyncExitStack())
        request.scope[REQUEST_STACK] = request_stack
        request.scope[FUNCTION_STACK] = function_stack
        solved = await solve_dependencies(
            request=request,
            dependant=caller,
            body=body,
            background_tasks=background,
            response=response,
            dependency_overrides_provider=route.dependency_overrides_provider,
            dependency_cache={keys[slot]: value for slot, value in shared.items()},
            embed_body_fields=route.embed_body_fields,
        )
        both.pop_all()
    cache = solved.dependency_cache
    return Solved(
        value=None if node.dependant.name is None else solved.values.get(node.dependant.name),
        errors=solved.errors,
        background=solved.background_tasks,
        response=solved.response,
        shared={slot: cache[key] for slot, key in keys.items() if key in cache},
        request_stack=request_stack,
        function_stack=function_stack,
    )
