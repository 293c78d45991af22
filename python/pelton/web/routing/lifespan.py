"""What runs when an app starts and stops."""

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from types import TracebackType
from typing import Any, TypeVar

from starlette.types import Lifespan

_T = TypeVar("_T")


class _InLoop(AbstractAsyncContextManager[_T]):
    """A plain context manager as an asynchronous one: it runs in the loop's thread."""

    def __init__(self, manager: AbstractContextManager[_T]) -> None:
        self._manager = manager

    async def __aenter__(self) -> _T:
        return self._manager.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._manager.__exit__(exc_type, exc, traceback)


def as_lifespan(function: Any) -> Lifespan[Any]:
    """A lifespan from any of its forms: a (plain or asynchronous) generator, or a manager."""
    if inspect.isasyncgenfunction(function):
        return asynccontextmanager(function)
    if inspect.isgeneratorfunction(function):
        manager = contextmanager(function)

        @functools.wraps(manager)
        def lifespan(app: Any) -> _InLoop[Any]:
            return _InLoop(manager(app))

        return lifespan
    chosen: Lifespan[Any] = function
    return chosen


def handlers_lifespan(
    startup: Callable[[], Awaitable[None]], shutdown: Callable[[], Awaitable[None]]
) -> Lifespan[Any]:
    """The lifespan that runs start-up and shutdown handlers."""

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        await startup()
        try:
            yield
        finally:
            await shutdown()

    return lifespan


def nest(outer: Lifespan[Any], inner: Lifespan[Any]) -> Lifespan[Any]:
    """`inner` within `outer`; where both give state under one name, `outer`'s is kept."""

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Mapping[str, Any] | None]:
        async with outer(app) as outer_state, inner(app) as inner_state:
            if outer_state is None and inner_state is None:
                yield None
            else:
                yield {**(inner_state or {}), **(outer_state or {})}

    merged: Lifespan[Any] = lifespan  # type: ignore[assignment]  # state may be there or not
    return merged


async def call_all(handlers: Sequence[Callable[[], Any]]) -> None:
    """Calls each handler in turn, awaiting those that are asynchronous."""
    for handler in handlers:
        result = handler()
        if inspect.isawaitable(result):
            await result
