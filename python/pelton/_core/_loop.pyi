"""The loop's compiled half: calls, timers, sockets, and its pool of threads."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Self, TypeVar, final

from _typeshed import FileDescriptorLike, ReadableBuffer, WriteableBuffer
from typing_extensions import disjoint_base

_T = TypeVar("_T")

@disjoint_base
class BaseLoop:
    """The compiled half of `pelton.Loop`: what runs per callback and per packet."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call `callback(*args)` in the next turn of the loop, in `context` (None: a copy of the
        current one). RuntimeError when the loop is closed."""
    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """`call_soon` from any thread; a waiting loop wakes up."""
    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call `callback(*args)` once `delay` seconds are over. Equal times keep their order."""
    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call `callback(*args)` once `time()` reaches `when`."""
    def run_in_executor(
        self, executor: Any, func: Callable[..., _T], *args: Any
    ) -> asyncio.Future[_T]:
        """The future of `func(*args)`, called in a thread of `executor` (None: the default one,
        which is native unless one was set). Cancelling it before it began prevents the call.
        RuntimeError after `shutdown_default_executor`."""
    def create_future(self) -> asyncio.Future[Any]:
        """A new `asyncio.Future` of this loop."""
    def time(self) -> float:
        """Seconds of the monotonic clock."""
    def get_debug(self) -> bool:
        """Whether debug mode is on."""
    def create_task(
        self,
        coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[_T]:
        """A stock task; a task factory, where one is set, makes it."""
    def sock_recv(self, sock: socket.socket, n: int) -> Coroutine[Any, Any, bytes]:
        """Receive `n` bytes at most; none at the end of the stream.

        This and the following return awaitables that behave as asyncio's coroutines do: nothing
        happens before the await, and cancelling one takes nothing from the socket. A call that
        would block is made again in the task that waits, once the descriptor is ready. RuntimeError
        where it would have to wait for a transport's descriptor, ValueError for a socket that
        blocks (in debug mode).
        """
    def sock_recv_into(self, sock: socket.socket, buf: WriteableBuffer) -> Coroutine[Any, Any, int]:
        """Receive into `buf`; how many bytes came."""
    def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> Coroutine[Any, Any, Any]:
        """Receive a datagram: `(data, address)`."""
    def sock_recvfrom_into(
        self, sock: socket.socket, buf: WriteableBuffer, nbytes: int = 0
    ) -> Coroutine[Any, Any, Any]:
        """Receive a datagram into `buf`: `(length, address)`."""
    def sock_sendall(self, sock: socket.socket, data: ReadableBuffer) -> Coroutine[Any, Any, None]:
        """Send all of `data`. After an error or a cancellation, part of it may have left."""
    def sock_sendto(
        self, sock: socket.socket, data: ReadableBuffer, address: Any
    ) -> Coroutine[Any, Any, int]:
        """Send a datagram; its length."""
    def sock_accept(self, sock: socket.socket) -> Coroutine[Any, Any, tuple[socket.socket, Any]]:
        """Accept a connection: `(socket, address)`, the socket non-blocking."""
    def _run_once(self) -> None: ...
    def _request_stop(self) -> None: ...
    def _bind(self) -> None: ...
    def _close_core(self) -> None: ...
    def _set_core_debug(self, enabled: bool) -> None: ...
    def _set_core_task_factory(self, given: bool) -> None: ...
    def _set_core_clock(self, replaced: bool) -> None: ...
    def _set_core_executor(self, pool: ThreadPool | None) -> None: ...
    def _stats(self) -> dict[str, Any]: ...
    def _callback_times(self) -> list[dict[str, Any]]: ...
    def _add_reader(
        self, fd: FileDescriptorLike, callback: Callable[..., object], *args: Any
    ) -> asyncio.Handle: ...
    def _add_writer(
        self, fd: FileDescriptorLike, callback: Callable[..., object], *args: Any
    ) -> asyncio.Handle: ...
    def _remove_reader(self, fd: FileDescriptorLike) -> bool: ...
    def _remove_writer(self, fd: FileDescriptorLike) -> bool: ...
    def _is_transport(self, fd: int) -> bool: ...
    def _watched(self, fd: int) -> int: ...

@final
class Handle(asyncio.Handle):
    """What `call_soon` returns. (`isinstance` holds; it does not really inherit.)"""

    def get_context(self) -> Context:
        """The context that the callback runs in, on every version of Python."""

@final
class TimerHandle(asyncio.TimerHandle):
    """What `call_later` and `call_at` return. (As `Handle`.)"""

    def get_context(self) -> Context:
        """The context that the callback runs in, on every version of Python."""
    def __eq__(self, other: object, /) -> bool: ...
    def __lt__(self, other: asyncio.TimerHandle, /) -> bool: ...
    def __le__(self, other: asyncio.TimerHandle, /) -> bool: ...
    def __gt__(self, other: asyncio.TimerHandle, /) -> bool: ...
    def __ge__(self, other: asyncio.TimerHandle, /) -> bool: ...

@final
class ThreadPool:
    """A queue of calls, and threads that are started as they are needed, `threads_max` at most."""

    def __new__(cls, threads_max: int, start: Callable[[PoolThread], object]) -> Self: ...
    def submit(self, function: Callable[..., object], *args: Any) -> None:
        """Have a thread call `function(*args)`, and drop what it returns. RuntimeError after
        `shut_down`."""
    def shut_down(self) -> None:
        """Let the threads end once the queue is empty; take no more calls."""
    def cancel_waiting(self) -> list[Any]:
        """Take out the calls that no thread has begun, and cancel their futures. Returns the
        functions of those that `submit` put in."""
    def forget_threads(self) -> None:
        """After a fork: begin anew, as the threads are the parent's."""

@final
class PoolThread:
    """What a thread of a pool runs, by calling it."""

    def __call__(self, *args: Any, **kwargs: Any) -> None: ...
    def shut_down(self) -> None:
        """Let the whole pool's threads end."""
