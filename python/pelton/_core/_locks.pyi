"""What tasks of `pelton.aio` wait for one another with."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Literal, Self, TypeVar

from typing_extensions import disjoint_base

_T = TypeVar("_T")

@disjoint_base
class Lock:
    """A mutex for tasks of one loop. As `asyncio.Lock`.

    It belongs to no task: any may release it. Tasks get it in the order in which they asked; one
    that is cancelled while it waits leaves the line.
    """

    _loop: asyncio.AbstractEventLoop | None

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    def __init__(self) -> None: ...
    def acquire(self) -> Coroutine[Any, Any, Literal[True]]:
        """Wait until it is free and take it."""
    def release(self) -> None:
        """Let go of it; RuntimeError if nobody has it."""
    def locked(self) -> bool:
        """Whether somebody has it."""
    def __aenter__(self) -> Coroutine[Any, Any, None]: ...
    def __aexit__(self, *args: object) -> Coroutine[Any, Any, None]: ...
    @property
    def _locked(self) -> bool: ...
    @property
    def _waiters(self) -> deque[asyncio.Future[Any]]: ...

@disjoint_base
class Event:
    """A flag that tasks of one loop wait for. As `asyncio.Event`.

    Who waits when it is set wakes up, even if it is cleared at once.
    """

    _loop: asyncio.AbstractEventLoop | None

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    def __init__(self) -> None: ...
    def wait(self) -> Coroutine[Any, Any, Literal[True]]:
        """Wait until the flag is set."""
    def is_set(self) -> bool:
        """Whether the flag is set."""
    def set(self) -> None:
        """Set the flag and wake all who wait."""
    def clear(self) -> None:
        """Clear the flag."""
    @property
    def _value(self) -> bool: ...
    @property
    def _waiters(self) -> deque[asyncio.Future[Any]]: ...

@disjoint_base
class Condition:
    """A lock, and a line of tasks that wait, without it, to be told that something changed.

    `lock` may be shared with others; it need not be ours: what has asyncio's methods will do. A
    wait may end without a reason, so ask again what you waited for, or use `wait_for`. As
    `asyncio.Condition` of Python 3.13.
    """

    _loop: asyncio.AbstractEventLoop | None

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    def __init__(self, lock: Lock | asyncio.Lock | None = None) -> None: ...
    def acquire(self) -> Coroutine[Any, Any, Literal[True]]:
        """Acquire the lock."""
    def release(self) -> None:
        """Release the lock."""
    def locked(self) -> bool:
        """Whether somebody has the lock."""
    def wait(self) -> Coroutine[Any, Any, Literal[True]]:
        """Release the lock, wait to be told, and acquire it again; also when cancelled."""
    def wait_for(self, predicate: Callable[[], _T]) -> Coroutine[Any, Any, _T]:
        """Wait until `predicate()` is true, and return what it returned."""
    def notify(self, n: int = 1) -> None:
        """Wake the first `n` of the tasks that wait. The lock must be held."""
    def notify_all(self) -> None:
        """Wake all tasks that wait. The lock must be held."""
    def __aenter__(self) -> Coroutine[Any, Any, None]: ...
    def __aexit__(self, *args: object) -> Coroutine[Any, Any, None]: ...
    @property
    def _lock(self) -> Any: ...
    @property
    def _waiters(self) -> deque[asyncio.Future[Any]]: ...

@disjoint_base
class Semaphore:
    """A number of permits for tasks of one loop: `acquire` takes one or waits, `release` gives one.

    Tasks get them in the order in which they asked. `float("inf")` permits never run out. As
    `asyncio.Semaphore` of Python 3.13.
    """

    _value: float
    _loop: asyncio.AbstractEventLoop | None

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    def __init__(self, value: float = 1) -> None: ...
    def acquire(self) -> Coroutine[Any, Any, Literal[True]]:
        """Wait for a permit and take it."""
    def release(self) -> None:
        """Give a permit back."""
    def locked(self) -> bool:
        """Whether `acquire` would wait."""
    def __aenter__(self) -> Coroutine[Any, Any, None]: ...
    def __aexit__(self, *args: object) -> Coroutine[Any, Any, None]: ...
    @property
    def _waiters(self) -> deque[asyncio.Future[Any]]: ...

class BoundedSemaphore(Semaphore):
    """A semaphore that never has more permits than at first: one `release` too many is a
    ValueError. As `asyncio.BoundedSemaphore`."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    def __init__(self, value: float = 1) -> None: ...
    @property
    def _bound_value(self) -> int: ...

@disjoint_base
class Barrier:
    """A point where a number of tasks wait for one another; the last to come lets all of them go.

    It can be used again once all have left. As `asyncio.Barrier`.
    """

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    def __init__(self, parties: int) -> None: ...
    def wait(self) -> Coroutine[Any, Any, int]:
        """Wait until as many tasks as there are parties wait here.

        Returns a number from 0 to `parties` - 1, another to each. BrokenBarrierError if the
        barrier is, or becomes, broken or reset.
        """
    def reset(self) -> Coroutine[Any, Any, None]:
        """Begin anew: whoever waits gets BrokenBarrierError."""
    def abort(self) -> Coroutine[Any, Any, None]:
        """Break it: whoever waits, or will wait, gets BrokenBarrierError."""
    @property
    def parties(self) -> int:
        """How many tasks it takes."""
    @property
    def n_waiting(self) -> int:
        """How many tasks wait for the others."""
    @property
    def broken(self) -> bool:
        """Whether it was aborted."""
    def __aenter__(self) -> Coroutine[Any, Any, int]: ...
    def __aexit__(self, *_args: object) -> Coroutine[Any, Any, None]: ...
    @property
    def _count(self) -> int: ...
    @property
    def _cond(self) -> Condition: ...
