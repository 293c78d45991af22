"""Memory channels: values from tasks to tasks of one loop, with a bound on what waits between."""

from __future__ import annotations

import asyncio
import math
from asyncio import CancelledError
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from pelton._nursery.checkpoint import give_way
from pelton._nursery.delivery import is_cancelled
from pelton._nursery.errors import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfChannel,
    WouldBlock,
)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

_current_task = asyncio.current_task

# So many operations in a row that need not wait give way once to other tasks.
STRAIGHT_MAX = 64


@dataclass(frozen=True)
class MemoryChannelStatistics:
    """A channel at one moment."""

    current_buffer_used: int
    max_buffer_size: float
    open_send_channels: int
    open_receive_channels: int
    tasks_waiting_send: int
    tasks_waiting_receive: int


class _Waiter:
    """A task that waits at one end: the future it waits for, and the value if it sends."""

    __slots__ = ("end", "future", "value")

    def __init__(self, end: object, future: asyncio.Future[Any], value: Any = None) -> None:
        self.end = end
        self.future = future
        self.value = value


class _Pipe:
    """What the ends of one channel share."""

    __slots__ = ("buffer", "limit", "receivers", "senders", "straight", "waiting_in", "waiting_out")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.buffer: deque[Any] = deque()
        self.senders = 0
        self.receivers = 0
        self.waiting_in: deque[_Waiter] = deque()  # tasks that send
        self.waiting_out: deque[_Waiter] = deque()  # tasks that receive
        self.straight = 0

    def put(self, value: Any) -> bool:
        """Hand `value` to who waits for one, or to the buffer; False where it is full."""
        waiting = self.waiting_out
        while waiting:
            future = waiting.popleft().future
            if not future.done():
                future.set_result(value)
                return True
        if len(self.buffer) < self.limit:
            self.buffer.append(value)
            return True
        return False

    def refill(self) -> None:
        """Take a value from a task that waits to send it: one is about to be received."""
        waiting = self.waiting_in
        while waiting:
            waiter = waiting.popleft()
            if not waiter.future.done():
                self.buffer.append(waiter.value)
                waiter.future.set_result(None)
                return

    def put_back(self, value: Any) -> None:
        """Return what a receiver got but cannot take, to the head of the line."""
        waiting = self.waiting_out
        while waiting:
            future = waiting.popleft().future
            if not future.done():
                future.set_result(value)
                return
        self.buffer.appendleft(value)

    def statistics(self) -> MemoryChannelStatistics:
        """The channel at this moment."""
        return MemoryChannelStatistics(
            len(self.buffer),
            self.limit,
            self.senders,
            self.receivers,
            sum(not waiter.future.done() for waiter in self.waiting_in),
            sum(not waiter.future.done() for waiter in self.waiting_out),
        )

    def must_give_way(self) -> bool:
        """Whether to give way before an operation: to be cancelled, or to others now and then."""
        task: Any = _current_task()
        if task is None:
            raise RuntimeError("a channel must be used in an asyncio task")
        try:
            scopes = task._pelton_scopes
        except AttributeError:
            pass  # it never was in a scope
        else:
            if scopes.current is not None and is_cancelled(scopes.current):
                scopes.kick()
                return True
        self.straight += 1
        if self.straight < STRAIGHT_MAX:
            return False
        self.straight = 0
        return True


class MemorySendChannel(Generic[T_contra]):
    """The sending end; made by `open_memory_channel` and `clone`. Close it, or use `with`."""

    __slots__ = ("_closed", "_pipe")

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._closed = False
        pipe.senders += 1

    async def send(self, value: T_contra) -> None:
        """Send `value`, waiting until a receiver or the buffer takes it.

        ClosedResourceError if this end is closed, also while it waits; BrokenResourceError if no
        receiver is left. Cancelled by a scope, nothing was sent; cancelled by `Task.cancel` in the
        very turn that the value was taken, it was.
        """
        pipe = self._pipe
        if pipe.must_give_way():
            await give_way()
        self._check()
        if pipe.put(value):
            return
        pipe.straight = 0
        waiter = _Waiter(self, asyncio.get_running_loop().create_future(), value)
        pipe.waiting_in.append(waiter)
        try:
            await waiter.future
        except CancelledError:
            if waiter in pipe.waiting_in:
                pipe.waiting_in.remove(waiter)
            raise

    def send_nowait(self, value: T_contra) -> None:
        """Send `value` at once. WouldBlock if nobody waits for one and the buffer is full."""
        self._check()
        if not self._pipe.put(value):
            raise WouldBlock

    def clone(self) -> MemorySendChannel[T_contra]:
        """Another sending end of the same channel, to be closed on its own."""
        if self._closed:
            raise ClosedResourceError
        return MemorySendChannel(self._pipe)

    def close(self) -> None:
        """Close this end. After the last one receivers get what is left, then EndOfChannel."""
        if self._closed:
            return
        self._closed = True
        pipe = self._pipe
        pipe.senders -= 1
        _fail_waiters_of(self, pipe.waiting_in)
        if pipe.senders == 0:
            for waiter in pipe.waiting_out:
                if not waiter.future.done():
                    waiter.future.set_exception(EndOfChannel())
            pipe.waiting_out.clear()

    async def aclose(self) -> None:
        """Close this end, and give way to other tasks."""
        self.close()
        await give_way()

    def statistics(self) -> MemoryChannelStatistics:
        """The channel at this moment."""
        return self._pipe.statistics()

    def __enter__(self) -> MemorySendChannel[T_contra]:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> MemorySendChannel[T_contra]:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _check(self) -> None:
        if self._closed:
            raise ClosedResourceError
        if self._pipe.receivers == 0:
            raise BrokenResourceError


class MemoryReceiveChannel(Generic[T_co]):
    """The receiving end; made by `open_memory_channel` and `clone`. Close it, or use `with`.

    `async for` receives until the end of the channel. Each value goes to one receiver.
    """

    __slots__ = ("_closed", "_pipe")

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._closed = False
        pipe.receivers += 1

    async def receive(self) -> T_co:
        """Receive the next value, waiting for one.

        EndOfChannel if nothing is left and no sender is open; ClosedResourceError if this end is
        closed, also while it waits. Cancelled, no value is lost.
        """
        pipe = self._pipe
        if pipe.must_give_way():
            await give_way()
        if pipe.buffer or pipe.waiting_in or pipe.senders == 0 or self._closed:
            try:
                return self.receive_nowait()
            except WouldBlock:
                pass  # who waited to send was cancelled
        pipe.straight = 0
        waiter = _Waiter(self, asyncio.get_running_loop().create_future())
        pipe.waiting_out.append(waiter)
        try:
            value: T_co = await waiter.future
        except CancelledError:
            future = waiter.future
            if waiter in pipe.waiting_out:
                pipe.waiting_out.remove(waiter)
            elif future.done() and not future.cancelled() and future.exception() is None:
                pipe.put_back(future.result())
            raise
        return value

    def receive_nowait(self) -> T_co:
        """Receive a value that is there. WouldBlock if there is none yet; EndOfChannel if never."""
        if self._closed:
            raise ClosedResourceError
        pipe = self._pipe
        if pipe.waiting_in:
            pipe.refill()
        if pipe.buffer:
            value: T_co = pipe.buffer.popleft()
            return value
        if pipe.senders == 0:
            raise EndOfChannel
        raise WouldBlock

    def clone(self) -> MemoryReceiveChannel[T_co]:
        """Another receiving end of the same channel, to be closed on its own."""
        if self._closed:
            raise ClosedResourceError
        return MemoryReceiveChannel(self._pipe)

    def close(self) -> None:
        """Close this end. After the last one senders get BrokenResourceError."""
        if self._closed:
            return
        self._closed = True
        pipe = self._pipe
        pipe.receivers -= 1
        _fail_waiters_of(self, pipe.waiting_out)
        if pipe.receivers == 0:
            for waiter in pipe.waiting_in:
                if not waiter.future.done():
                    waiter.future.set_exception(BrokenResourceError())
            pipe.waiting_in.clear()
            pipe.buffer.clear()

    async def aclose(self) -> None:
        """Close this end, and give way to other tasks."""
        self.close()
        await give_way()

    def statistics(self) -> MemoryChannelStatistics:
        """The channel at this moment."""
        return self._pipe.statistics()

    def __aiter__(self) -> MemoryReceiveChannel[T_co]:
        return self

    async def __anext__(self) -> T_co:
        try:
            return await self.receive()
        except EndOfChannel:
            raise StopAsyncIteration from None

    def __enter__(self) -> MemoryReceiveChannel[T_co]:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> MemoryReceiveChannel[T_co]:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class open_memory_channel(tuple[MemorySendChannel[T], MemoryReceiveChannel[T]]):
    """A pair of ends: `send, receive = open_memory_channel[int](8)`; the type is optional.

    At most `max_buffer_size` values wait in the channel: a whole number from zero, where every send
    waits for a receiver, or `math.inf`, where nothing holds senders back. Values arrive in the
    order they were sent; who waits is served in order. For the tasks of one loop; not thread-safe.
    """

    __slots__ = ()

    def __new__(cls, max_buffer_size: float) -> open_memory_channel[T]:
        if not isinstance(max_buffer_size, int) and max_buffer_size != math.inf:
            raise TypeError("max_buffer_size must be a whole number or math.inf")
        if max_buffer_size < 0:
            raise ValueError("max_buffer_size must be at least 0")
        pipe = _Pipe(max_buffer_size)
        return super().__new__(cls, (MemorySendChannel[T](pipe), MemoryReceiveChannel[T](pipe)))


def _fail_waiters_of(end: object, waiting: deque[_Waiter]) -> None:
    """Tell the tasks that wait at an end that it was closed."""
    for waiter in [waiter for waiter in waiting if waiter.end is end]:
        waiting.remove(waiter)
        if not waiter.future.done():
            waiter.future.set_exception(ClosedResourceError())
