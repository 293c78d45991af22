"""Waits, deadlines and groups of tasks of `pelton.aio`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable, Iterator
from contextvars import Context
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, final, overload, type_check_only

from typing_extensions import disjoint_base

_T = TypeVar("_T")
_FutureT = TypeVar("_FutureT", bound=asyncio.Future[Any])

@overload
def sleep(delay: float) -> Coroutine[Any, Any, None]:
    """Give way for `delay` seconds; then return `result`. As `asyncio.sleep`."""

@overload
def sleep(delay: float, result: _T) -> Coroutine[Any, Any, _T]: ...

@final
class Timeout:
    """A deadline for the block of `async with`; `timeout` and `timeout_at` make it.

    When the time is over, the task is cancelled, and the cancellation that leaves the block becomes
    `TimeoutError`; but not if somebody else asked the task to cancel too. As `asyncio.Timeout`.
    """

    def __new__(cls, when: float | None) -> Self: ...
    def when(self) -> float | None:
        """The deadline in seconds of the loop's clock; None for never."""
    def reschedule(self, when: float | None) -> None:
        """Move the deadline. RuntimeError unless the block is under way and in time."""
    def expired(self) -> bool:
        """Whether the deadline was exceeded in the block."""
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> Coroutine[Any, Any, None]: ...

def timeout(delay: float | None) -> Timeout:
    """A deadline `delay` seconds from now; None for never. As `asyncio.timeout`."""

def timeout_at(when: float | None) -> Timeout:
    """A deadline at `when` seconds of the loop's clock; None for never. As `asyncio.timeout_at`."""

def wait_for(fut: Awaitable[_T], timeout: float | None) -> Coroutine[Any, Any, _T]:
    """Wait for one awaitable, for `timeout` seconds at most (None: for as long as it takes).

    It runs in the caller's own task, as with `asyncio.wait_for` from 3.12 on. When the time is
    over, it is cancelled, and once it has ended, TimeoutError is raised, or its own result
    returned, if it did not heed the cancellation. Cancelling the wait cancels it too.
    """

def wait(
    fs: Iterable[_FutureT], *, timeout: float | None = None, return_when: str = "ALL_COMPLETED"
) -> Coroutine[Any, Any, tuple[set[_FutureT], set[_FutureT]]]:
    """Wait for futures; return those that are done, and those that are not.

    It ends with the last one (`return_when` ALL_COMPLETED), the first (FIRST_COMPLETED), the first
    failure (FIRST_EXCEPTION), or after `timeout` seconds, which raises nothing. Cancelling the wait
    cancels none of them. TypeError for coroutines, ValueError for no futures. As `asyncio.wait`.
    """

gather = asyncio.gather  # its overloads are typeshed's

def shield(arg: Awaitable[_T]) -> asyncio.Future[_T]:
    """Wait for an awaitable, which goes on if this wait is cancelled. As `asyncio.shield`.

    Keep a reference to the awaitable's task: loops do not.
    """

@type_check_only
class _AsCompleted(
    Iterator[Coroutine[Any, Any, _T]], AsyncIterator[asyncio.Future[_T]], Protocol[_T]
): ...

def as_completed(fs: Iterable[Awaitable[_T]], *, timeout: float | None = None) -> _AsCompleted[_T]:
    """Iterate over awaitables in the order in which they end. As `asyncio.as_completed` of 3.13.

    `async for` gives the futures themselves (tasks for what was no future); `for` gives coroutines
    that return the results. TimeoutError, from either, for what is not done in `timeout` seconds.
    """

@disjoint_base
class TaskGroup:
    """Tasks that end before the block of `async with` does. As `asyncio.TaskGroup` of 3.13.

    A task that fails cancels the others and the block; the exceptions of all leave the block in an
    `ExceptionGroup`, but KeyboardInterrupt and SystemExit leave it as they are.
    """

    def __new__(cls) -> Self: ...
    def __aenter__(self) -> Coroutine[Any, Any, Self]: ...
    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> Coroutine[Any, Any, None]: ...
    def create_task(
        self,
        coro: Coroutine[Any, Any, _T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **kwargs: Any,
    ) -> asyncio.Task[_T]:
        """Start a task in the group; `kwargs` are for the loop's `create_task`.

        RuntimeError, and the coroutine is closed, before the block, after the last task's end, or
        once the group shuts down.
        """
    @property
    def _tasks(self) -> set[asyncio.Task[Any]]: ...
    @property
    def _parent_task(self) -> asyncio.Task[Any] | None: ...
