"""Endpoints that yield: JSON lines, server-sent events, and raw streams."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import ObjectReceiveStream
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import Response, StreamingResponse

from .. import sse
from ..annotations import lenient_issubclass
from ..dependencies.callables import CallKind
from ..dependencies.models import Dependant
from ..dependencies.solve import SolvedDependency
from ..encoders import jsonable_encoder
from ..exceptions import EndpointContext
from ..sse import EventSourceResponse
from .serialize import ResponsePlan, finite


async def _with_checkpoints(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """`items`, with a point after each at which a cancelled request stops.

    A generator that never really waits would otherwise hold the loop until it ends.
    """
    async for item in items:
        yield item
        await anyio.lowlevel.checkpoint()


_Streamer = Callable[[Any, SolvedDependency, EndpointContext, AsyncExitStack], Awaitable[Response]]


def streaming(dependant: Dependant, plan: ResponsePlan, is_json_stream: bool) -> _Streamer:
    """From what an endpoint yields to a response, in the way that its route declares.

    The stack ends what makes the items.
    """
    is_async = dependant.kind is CallKind.async_generator
    is_events = lenient_issubclass(plan.actual_class, EventSourceResponse)

    async def respond(
        content: Any, solved: SolvedDependency, context: EndpointContext, stack: AsyncExitStack
    ) -> Response:
        if is_events:
            return await event_stream(content, is_async, plan, solved, context, stack)
        if is_json_stream:
            return json_lines(content, is_async, plan, solved, context)
        return raw_stream(content, is_async, plan, solved)

    return respond


def raw_stream(
    generator: Any, is_async: bool, plan: ResponsePlan, solved: SolvedDependency
) -> Response:
    """The response whose content is what the endpoint yields, as it is."""
    content = _with_checkpoints(generator) if is_async else generator
    response = plan.actual_class(content, **plan.arguments(solved))
    response.headers.raw.extend(solved.response.headers.raw)
    return response


def json_lines(
    generator: Any,
    is_async: bool,
    plan: ResponsePlan,
    solved: SolvedDependency,
    endpoint_ctx: EndpointContext,
) -> Response:
    """The response with one line of JSON for each item."""

    async def lines_async() -> AsyncIterator[bytes]:
        async for item in _with_checkpoints(generator):
            yield plan.item_json(item, endpoint_ctx) + b"\n"

    def lines() -> Iterator[bytes]:
        for item in generator:
            yield plan.item_json(item, endpoint_ctx) + b"\n"

    response = StreamingResponse(
        lines_async() if is_async else lines(),
        media_type="application/jsonl",
        **plan.arguments(solved),
    )
    response.headers.raw.extend(solved.response.headers.raw)
    return response


async def event_stream(
    generator: Any,
    is_async: bool,
    plan: ResponsePlan,
    solved: SolvedDependency,
    endpoint_ctx: EndpointContext,
    stack: AsyncExitStack,
) -> Response:
    """The response with one event for each item, and a comment when there was none for long.

    The tasks that make the events end with `stack`.
    """
    items = generator.__aiter__() if is_async else iterate_in_threadpool(generator)

    async def events() -> AsyncIterator[bytes]:
        async for item in items:
            yield _event(item, plan, endpoint_ctx)

    received = await stack.enter_async_context(_kept_alive(events()))
    stack.push_async_callback(received.aclose)
    response = StreamingResponse(
        _with_checkpoints(received), media_type="text/event-stream", **plan.arguments(solved)
    )
    response.headers["Cache-Control"] = "no-cache"
    # For nginx, which would collect events before passing them on.
    response.headers["X-Accel-Buffering"] = "no"
    response.headers.raw.extend(solved.response.headers.raw)
    return response


def _event(item: Any, plan: ResponsePlan, endpoint_ctx: EndpointContext) -> bytes:
    if not isinstance(item, sse.ServerSentEvent):
        return sse.format_sse_event(data_str=plan.item_json(item, endpoint_ctx).decode())
    data = item.raw_data
    if data is None and item.data is not None:
        if hasattr(item.data, "model_dump_json"):
            data = item.data.model_dump_json()
        else:
            data = json.dumps(finite(jsonable_encoder(item.data)))
    return sse.format_sse_event(
        data_str=data, event=item.event, id=item.id, retry=item.retry, comment=item.comment
    )


@asynccontextmanager
async def _kept_alive(
    events: AsyncIterator[bytes],
) -> AsyncIterator[ObjectReceiveStream[bytes]]:
    """`events` through a task of its own, with comments put in where none comes for a while.

    The source has its own task so that a timeout never cancels it halfway to an item.
    """
    put, taken = anyio.create_memory_object_stream[bytes](max_buffer_size=1)
    out, result = anyio.create_memory_object_stream[bytes](max_buffer_size=1)

    async def produce() -> None:
        async with put:
            async for event in events:
                await put.send(event)

    async def insert_comments() -> None:
        async with out, taken:
            while True:
                try:
                    with anyio.fail_after(sse.PING_INTERVAL):
                        event = await taken.receive()
                except TimeoutError:
                    event = sse.KEEPALIVE_COMMENT
                except anyio.EndOfStream:
                    return
                await out.send(event)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(produce)
        tasks.start_soon(insert_comments)
        yield result
        tasks.cancel_scope.cancel()
