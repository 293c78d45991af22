"""The queues of `pelton.aio`."""

from __future__ import annotations

import asyncio
import types
from collections import deque
from collections.abc import Coroutine
from typing import Any, Generic, Self, TypeVar

from typing_extensions import disjoint_base

from ._locks import Event

_T = TypeVar("_T")

class QueueShutDown(Exception):
    """A queue was shut down. (`asyncio.QueueShutDown`, where asyncio has it: from 3.13 on.)"""

@disjoint_base
class Queue(Generic[_T]):
    """A queue between tasks of one loop, first in, first out. As `asyncio.Queue` of Python 3.13.

    `maxsize` is the most it holds (zero or less: no limit); `put` waits for room and `get` for an
    item, in the order in which tasks came. A task that is cancelled while it waits neither puts
    nor gets. A subclass may override `_init`, `_put` and `_get`, as asyncio's own do.
    """

    _queue: Any
    _maxsize: int
    _unfinished_tasks: int
    _loop: asyncio.AbstractEventLoop | None

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    def __init__(self, maxsize: int = 0) -> None: ...
    @classmethod
    def __class_getitem__(cls, item: Any) -> types.GenericAlias: ...
    def put(self, item: _T) -> Coroutine[Any, Any, None]:
        """Wait for room, and put an item in; QueueShutDown once it is shut down."""
    def put_nowait(self, item: _T) -> None:
        """Put an item in; QueueFull if there is no room, QueueShutDown once it is shut down."""
    def get(self) -> Coroutine[Any, Any, _T]:
        """Wait for an item, and take it; QueueShutDown once it is shut down and empty."""
    def get_nowait(self) -> _T:
        """Take an item; QueueEmpty if there is none, or QueueShutDown."""
    def qsize(self) -> int:
        """How many items there are."""
    def empty(self) -> bool:
        """Whether there is no item."""
    def full(self) -> bool:
        """Whether there are as many items as may be."""
    def task_done(self) -> None:
        """Say that an item that was taken is worked off; ValueError if none is left."""
    def join(self) -> Coroutine[Any, Any, None]:
        """Wait until every item that was put is worked off."""
    def shutdown(self, immediate: bool = False) -> None:
        """Put and get no more: QueueShutDown is raised, by `get` once the queue is empty.

        With `immediate`, what is in the queue is dropped, and counts as done. Who waits wakes up.
        """
    @property
    def maxsize(self) -> int:
        """The most items that it holds; zero or less: no limit."""
    def _init(self, _maxsize: int) -> None: ...
    def _put(self, item: _T) -> None: ...
    def _get(self) -> _T: ...
    def _wakeup_next(self, waiters: Any) -> None: ...
    def _format(self) -> str: ...
    @property
    def _getters(self) -> deque[asyncio.Future[None]]: ...
    @property
    def _putters(self) -> deque[asyncio.Future[None]]: ...
    @property
    def _finished(self) -> Event: ...
    @property
    def _is_shutdown(self) -> bool: ...

class PriorityQueue(Queue[_T]):
    """A queue that gives the smallest item first. As `asyncio.PriorityQueue`."""

    def __new__(cls, maxsize: int = 0) -> Self: ...

class LifoQueue(Queue[_T]):
    """A queue that gives the newest item first. As `asyncio.LifoQueue`."""

    def __new__(cls, maxsize: int = 0) -> Self: ...
