"""The face of the compiled core, `pelton._core`. Each area has its section; keep them in order."""

from __future__ import annotations

import asyncio
import socket
import ssl
import types
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    MutableMapping,
    Sequence,
)
from contextvars import Context
from types import TracebackType
from typing import (
    Any,
    Generic,
    Literal,
    Protocol,
    Self,
    TypeVar,
    final,
    overload,
    type_check_only,
)

from _typeshed import FileDescriptorLike, ReadableBuffer, WriteableBuffer
from starlette.datastructures import UploadFile
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import disjoint_base

_T = TypeVar("_T")
_FutureT = TypeVar("_FutureT", bound=asyncio.Future[Any])

__version__: str

# --- loop ---------------------------------------------------------------------------------------

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

# --- transports ---------------------------------------------------------------------------------

@final
class StreamTransport(asyncio.Transport):
    """A stream socket's transport. (`isinstance` holds; it does not really inherit.)

    It owns `socket`: closing the transport closes it. `waiter` gets None once `connection_made`
    was called; `server` is told of the connection and of its end.
    """

    def __new__(
        cls,
        event_loop: BaseLoop,
        socket: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> StreamTransport: ...

def read_pipe(event_loop: BaseLoop, fd: int, size: int, last: int) -> bytes | None:
    """Read up to `size` bytes, 256 KiB at most, from a descriptor that does not block; b"" at its
    end, None if nothing is there. `last`: how long the last read was."""

@final
class DatagramTransport(asyncio.DatagramTransport):
    """A datagram socket's transport. (`isinstance` holds; it does not really inherit.)

    It owns `socket`: closing the transport closes it. With an `address`, all datagrams go there.
    `waiter` gets None once `connection_made` was called.
    """

    max_size: int
    """Bytes of a datagram that are received at most, 256 KiB or fewer; the rest of it is lost."""

    def __new__(
        cls,
        event_loop: BaseLoop,
        socket: socket.socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> DatagramTransport: ...
    def pause_reading(self) -> None:
        """Leave what comes to the kernel, which drops what its buffer has no room for."""
    def resume_reading(self) -> None:
        """Read again."""
    def is_reading(self) -> bool:
        """Whether it is neither paused nor closing."""
    def get_write_buffer_size(self) -> int:
        """Bytes queued."""
    def get_write_buffer_limits(self) -> tuple[int, int]:
        """`(low, high)`, in bytes."""
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The protocol pauses writing above `high` queued bytes, and resumes at `low` or fewer."""

@final
class TlsOptions:
    """How to do TLS on a connection, or on all those of a server.

    Timeouts are in seconds. `short` false keeps records on the methods of `ssl.SSLObject`; so does
    an OpenSSL that cannot be reached from here.
    """

    def __new__(
        cls,
        context: ssl.SSLContext,
        server_side: bool,
        server_hostname: str | None,
        handshake_timeout: float,
        shutdown_timeout: float,
        short: bool,
    ) -> TlsOptions: ...

@final
class TlsTransport(asyncio.Transport):
    """A TLS connection's transport. (`isinstance` holds; it does not really inherit.)"""

    @staticmethod
    def connect(
        event_loop: BaseLoop,
        socket: socket.socket,
        protocol: asyncio.BaseProtocol,
        options: TlsOptions,
        waiter: asyncio.Future[None] | None,
        extra: dict[str, Any] | None,
        server: Any,
    ) -> TlsTransport:
        """TLS on a connected, non-blocking socket, which the transport owns.

        `waiter` gets None after the handshake, or its exception."""
    @staticmethod
    def upgrade(
        raw: StreamTransport,
        protocol: asyncio.BaseProtocol,
        options: TlsOptions,
        waiter: asyncio.Future[None],
    ) -> TlsTransport:
        """TLS from now on over an open transport, whose protocol was told of its connection."""
    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Kept for programs written for asyncio's transport; reading stops at `pause_reading`."""
    def get_read_buffer_limits(self) -> tuple[int, int]:
        """`(low, high)`, in bytes."""
    def get_read_buffer_size(self) -> int:
        """Bytes that came and were not decrypted yet."""

@final
class ListenerHandle:
    """Accepts connections on a listening socket, which stays its owner's to close."""

    def __new__(
        cls,
        event_loop: BaseLoop,
        socket: socket.socket,
        factory: Callable[[], asyncio.BaseProtocol],
        server: Any,
        tls: TlsOptions | None = None,
    ) -> ListenerHandle: ...
    def stop(self) -> None:
        """Accept no more."""

# --- aio ----------------------------------------------------------------------------------------

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

@overload
def sleep(delay: float) -> Coroutine[Any, Any, None]:
    """Give way for `delay` seconds; then return `result`. As `asyncio.sleep`."""

@overload
def sleep(delay: float, result: _T) -> Coroutine[Any, Any, _T]: ...

@disjoint_base
class StreamReader:
    """The reading half of a connection. As `asyncio.StreamReader`.

    `limit`, in bytes (None: 64 KiB), is what `readline` and `readuntil` take at most; the transport
    is stopped while twice as much is buffered. One coroutine may wait at a time: another gets
    RuntimeError. Cancelling a read loses nothing: what came stays buffered.
    """

    def __new__(
        cls, limit: int | None = None, loop: asyncio.AbstractEventLoop | None = None
    ) -> Self: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, bytes]: ...
    def exception(self) -> BaseException | None:
        """The exception of `set_exception`, or None."""
    def set_exception(self, exc: BaseException) -> None:
        """Has reads fail with `exc` from now on, the one that waits included."""
    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        """The transport that is stopped while too much is buffered. AssertionError if there is
        one already."""
    def feed_data(self, data: bytes | bytearray | memoryview) -> None:
        """Adds bytes that came. AssertionError after `feed_eof`."""
    def feed_eof(self) -> None:
        """Nothing more will come."""
    def at_eof(self) -> bool:
        """Whether everything was read and nothing more will come."""
    def read(self, n: int = -1) -> Coroutine[Any, Any, bytes]:
        """Up to `n` bytes, as soon as there are any; empty at the end. All until the end if `n` is
        negative."""
    def readexactly(self, n: int) -> Coroutine[Any, Any, bytes]:
        """Exactly `n` bytes; `asyncio.IncompleteReadError` if the end comes before."""
    def readuntil(
        self, separator: bytes | bytearray | memoryview | tuple[bytes, ...] = b"\n"
    ) -> Coroutine[Any, Any, bytes]:
        """The bytes up to and with `separator`, or the one of several that ends first.

        `asyncio.LimitOverrunError`, with the bytes left in place, when more than the limit comes
        before it; `asyncio.IncompleteReadError`, with what there was, at the end."""
    def readline(self) -> Coroutine[Any, Any, bytes]:
        """A line with its newline; what there is at the end. ValueError, the line being dropped,
        when it is longer than the limit."""
    def _attach(self, transport: asyncio.BaseTransport) -> None:
        """Takes the bytes of a transport of ours directly, without its protocol."""
    @property
    def _buffer(self) -> bytes: ...
    @property
    def _eof(self) -> bool: ...
    @property
    def _exception(self) -> BaseException | None: ...
    @property
    def _limit(self) -> int: ...
    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def _paused(self) -> bool: ...
    @property
    def _source_traceback(self) -> Any: ...
    _transport: asyncio.BaseTransport | None
    _waiter: asyncio.Future[None] | None

@disjoint_base
class StreamWriter:
    """The writing half of a connection. As `asyncio.StreamWriter`.

    Dropped while the connection is open, it closes it with a ResourceWarning.
    """

    def __new__(
        cls,
        transport: asyncio.WriteTransport,
        protocol: asyncio.BaseProtocol,
        reader: StreamReader | None,
        loop: asyncio.AbstractEventLoop,
    ) -> Self: ...
    @property
    def transport(self) -> asyncio.WriteTransport:
        """The transport."""
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends bytes: now if nothing waits, and else after what does. Never blocks; `drain`
        does."""
    def writelines(self, data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Sends chunks, in one system call where it can."""
    def drain(self) -> Coroutine[Any, Any, None]:
        """Waits until the transport's queue is short. ConnectionResetError, or the connection's
        own error, when it is gone."""
    def write_eof(self) -> None:
        """Ends our side once everything is sent; reading goes on."""
    def can_write_eof(self) -> bool:
        """Whether the transport knows `write_eof`: TLS does not."""
    def close(self) -> None:
        """Closes once everything is sent."""
    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
    def wait_closed(self) -> Coroutine[Any, Any, None]:
        """Waits until the connection is closed; raises the error that ended it."""
    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows by that name."""
    def start_tls(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, None]:
        """Goes on with TLS: `start_tls(sslcontext, *, server_hostname=None,
        ssl_handshake_timeout=None, ssl_shutdown_timeout=None)`, the last from Python 3.12 on."""
    @property
    def _protocol(self) -> Any: ...
    @property
    def _reader(self) -> StreamReader | None: ...
    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    def _finalize(self) -> None: ...
    _transport: asyncio.WriteTransport

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

# --- server -------------------------------------------------------------------------------------

@final
class HttpServer:
    """An HTTP server in the loop's thread. All calls in that thread, but `stats` from any.

    `event_loop` is a `pelton.Loop`, `config` a `pelton.server.Config`; `state` is what the app's
    lifespan left for its requests: each gets a shallow copy. Raises ValueError or OSError where a
    file that the config names cannot be used.
    """

    def __new__(
        cls, event_loop: asyncio.AbstractEventLoop, app: Any, config: Any, state: dict[str, Any]
    ) -> HttpServer: ...
    def listen(self, fd: int) -> None:
        """Accepts on a listening socket. The descriptor is the server's from now on."""
    def shutdown(self) -> None:
        """Stops accepting; idle connections close now, others after the request under way, and
        WebSockets with code 1012."""
    def abort(self) -> int:
        """Closes all connections at once and cancels their tasks; how many."""
    def _panic_at_next_read(self) -> None:
        """The next connection that reads panics: for the tests of what then happens."""
    def on_idle(self, callback: Callable[[], object]) -> None:
        """Calls `callback` once, when no connection is open and no request's task runs."""
    def reload_tls(self) -> None:
        """Reads the config's TLS files again, for new connections. Raises ValueError, which names
        the file, where one cannot be used; what was in use stays."""
    def reopen_log(self) -> None:
        """Opens the access log's file again. Raises OSError where it cannot."""
    @property
    def connections(self) -> int: ...
    @property
    def requests(self) -> int: ...
    def stats(self) -> dict[str, Any]:
        """The counters: see `pelton.server.stats`."""

@final
class RequestReceive:
    """The ASGI callable `receive` of a request that our server brought."""

    def __call__(self, /, *args: Any, **kwargs: Any) -> Awaitable[Message]:
        """The next message. Takes no arguments."""

    def drain(self, consumer: FormReader | BodyFile) -> Awaitable[bool]:
        """Reads all of the body into `consumer`, instead of calls: whether the body came to its
        end, rather than the client having left."""

def http_stats() -> dict[str, Any]:
    """The counters of a server that has served nothing: zeros to add to."""

# --- forms and uploads --------------------------------------------------------------------------

def parse_form(content_type: bytes, body: bytes) -> list[tuple[str, str | UploadFile]] | None:
    """Reads a whole form with Starlette's limits: its `(name, value)` pairs; None if
    `content_type` is no form's. Raises `HTTPException` with status 400 if the form is wrong."""

@final
class FormReader:
    """Reads a form from the pieces of a request's body."""

    @staticmethod
    def of(
        content_type: bytes, max_files: int, max_fields: int, max_part_size: int, spool_size: int
    ) -> FormReader | None:
        """A reader for this content type; None if it is no form's. `spool_size`: bytes of a file
        that are kept in memory. Raises Starlette's `MultiPartException` without a boundary."""

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the body. Raises Starlette's `MultiPartException` if the form
        is wrong, and `OSError` if a file could not be written."""

    def finish(self) -> list[tuple[str, str | UploadFile]]:
        """The fields in their order, as `(name, value)`. A value is text, or a `UploadFile`."""

    def close(self) -> None:
        """Gives the form up: closes its files."""

@final
class BodyFile:
    """Writes the pieces of a body to a copy of `descriptor`, from its position on."""

    def __new__(cls, descriptor: int, max_size: int | None = None) -> BodyFile: ...
    def feed(self, data: bytes) -> None:
        """Writes bytes. Raises `BodyTooLarge` for more than `max_size`, and `OSError`."""

    @property
    def size(self) -> int: ...
    def close(self) -> None:
        """Closes the copy of the descriptor."""

class BodyTooLarge(Exception):
    """A body has more bytes than it may have."""

@final
class BodyEncoder:
    """Compresses one body: `gzip` (levels 1 to 9), `br` (0 to 11) or `zstd` (1 to 19)."""

    def __new__(cls, coding: str, level: int) -> BodyEncoder: ...
    def encode(self, data: bytes) -> bytes:
        """Takes bytes and gives what is ready of their compressed form: often nothing."""

    def flush(self) -> bytes:
        """Gives all that is still inside."""

    def finish(self) -> bytes:
        """The end: what is left, and the coding's own ending. The encoder is of no more use."""

@final
class BodyDecoder:
    """Decompresses one body (`gzip`, `br`, `zstd` or `deflate`), and lets `max_size` bytes out."""

    def __new__(cls, coding: str, max_size: int) -> BodyDecoder: ...
    def decode(self, data: bytes) -> bytes:
        """Takes bytes and gives what they hold. Raises `BodyTooLarge`, and ValueError for what is
        not in the coding."""

    def finish(self) -> bytes:
        """The end of the body: what is left. Raises as `decode`, also for a body cut off."""

def negotiate_coding(accept: list[bytes], offered: list[str]) -> str | None:
    """The coding for a client with these values of `accept-encoding`, of those offered; None where
    it is to have the content as it is."""

# --- web ----------------------------------------------------------------------------------------

@final
class RouteApp:
    """One route's compiled plan as an ASGI app.

    `spec` is a `pelton.web._plan.PlanSpec`. While the plan does not hold (dependencies are
    overridden, plans are turned off) requests go to `reference`.
    """

    def __new__(cls, spec: Any, reference: ASGIApp) -> RouteApp: ...
    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]: ...
    @property
    def reference(self) -> ASGIApp: ...

@final
class RequestRun:
    """One request on its way through a plan: a coroutine that returns None."""

    __name__: str
    __qualname__: str
    @property
    def cr_running(self) -> bool: ...
    @property
    def cr_await(self) -> Any: ...
    def __await__(self) -> Iterator[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any: ...
    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any: ...
    def close(self) -> None: ...

@final
class TrackedSend:
    """An ASGI `send` that remembers whether a response was begun."""

    def __call__(self, message: MutableMapping[str, Any]) -> Awaitable[None]: ...
    @property
    def started(self) -> bool: ...

@final
class RouteIndex:
    """Which of a list of routes may match a path.

    `patterns` has one for each route: text and parameters ``(name, convertor)`` in turn, as
    `pelton.web._plan_routes.pattern_of` gives them.
    """

    def __new__(cls, patterns: list[list[str | tuple[str, str]]]) -> RouteIndex: ...
    def candidates(self, path: str) -> list[int]:
        """The places of all routes that may match, smallest first; some of them may not."""

@final
class RoutesSeen:
    """The routes of some routers at one time."""

    def __new__(cls, routers: Iterable[Any]) -> RoutesSeen: ...
    def is_current(self) -> bool:
        """Whether all of them have the same routes, in the same order, as when it was made."""

@final
class DirectApp:
    """Requests handed to an app's plans as the native server hands them, in memory: for tests
    and measurements."""

    @staticmethod
    def find(app: Any) -> DirectApp | None:
        """The plans of `app`; None where the server would run it as an ASGI app."""

    def request(
        self,
        method: str,
        path: str,
        query: bytes,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        asgi: Callable[[], tuple[Any, Any, Any]],
    ) -> tuple[RequestRun, DirectAnswer] | None:
        """The coroutine of a request and where its answer will be; None where the server would
        take the ASGI way. `asgi` makes `(scope, receive, send)` if they are needed."""

@final
class DirectAnswer:
    """What became of a request handed to `DirectApp`."""

    @property
    def status(self) -> int | None: ...  # None while there is no answer
    @property
    def headers(self) -> list[tuple[bytes, bytes]]: ...  # without those of the transport
    @property
    def body(self) -> bytes: ...
    @property
    def error(self) -> BaseException | None: ...  # that no handler of the app took

def use_plans(enabled: bool) -> bool:
    """Turns compiled plans on or off for the whole process; returns what it was."""

# --- jobs ---------------------------------------------------------------------------------------
#
# Every operation has two forms in one method: with `waiter` (a future of a running asyncio loop)
# it returns None at once and the future gets the value or the exception from the broker's thread,
# many futures of a loop by one wakeup; with `waiter=None` it blocks, with the GIL released, and
# returns the value. Times are seconds since the epoch, durations are seconds, both float.
# Payloads, results and errors are UTF-8 JSON in bytes; the core never looks inside a payload.

class BrokerError(Exception):
    """The broker could not do it: unreachable, broken, full, read-only, or of a newer schema."""

State = Literal[
    "waiting",  # for the jobs it depends on
    "scheduled",  # for its time: delayed, or between two attempts
    "queued",
    "running",
    "succeeded",
    "dead",  # failed for good: the dead-letter state
    "cancelled",
]

@final
class RetryPolicy:
    """How often and when a failed job runs again. Backoff is exponential with full jitter.

    The delay before attempt n+1 is uniform in [0, min(max_delay, base_delay * factor**(n-1))]
    with jitter, and the upper bound itself without.
    """

    def __new__(
        cls,
        *,
        max_retries: int = 3,
        base_delay: float = 1.0,
        max_delay: float = 600.0,
        factor: float = 2.0,
        jitter: bool = True,
    ) -> RetryPolicy: ...
    max_retries: int
    base_delay: float
    max_delay: float
    factor: float
    jitter: bool

@final
class NewJob:
    """A job to be written. `id` is made by the caller (`new_job_id`)."""

    def __new__(
        cls,
        *,
        id: str,
        task: str,
        payload: bytes,
        queue: str = "default",
        priority: int = 0,  # larger runs first, on every broker; -100 to 100
        run_at: float | None = None,
        expires_at: float | None = None,  # not started by then: cancelled with reason "expired"
        key: str | None = None,  # at most one unfinished job has a given key
        timeout: float | None = None,  # seconds per attempt
        retry: RetryPolicy | None = None,
        result_ttl: float = 86_400.0,
        group: str | None = None,  # members of one workflow share it
        headers: bytes | None = None,  # ride along, never looked into
        limit_key: str | None = None,  # whose share of the task's limit for each key it uses
        key_ttl: float | None = None,  # seconds for which `key` stays taken, ended or not
    ) -> NewJob: ...
    id: str
    task: str
    queue: str
    def columns(self) -> dict[str, str | int | float | None]:
        """As the function `pelton_enqueue` of a PostgreSQL broker takes it."""

def new_job_id() -> str:
    """A UUID version 7 as 32 hexadecimal digits: sorts by time of creation."""

@final
class Edge:
    """`child` waits for `parent`, and gets its result at `position` of its `inputs`.

    `on_failure`: it waits for the first of its parents that is dead or cancelled, and gets a JSON
    object with `job`, `state`, `reason` and `error` instead; it is cancelled when all succeeded.
    """

    def __new__(
        cls, parent: str, child: str, position: int = 0, *, on_failure: bool = False
    ) -> Edge: ...

@final
class LeasedJob:
    """A job that this worker may run, once, while it holds the lease."""

    id: str
    task: str
    queue: str
    payload: bytes
    attempt: int  # 1 for the first
    token: int  # the fence: outcomes with an older token are refused
    max_retries: int
    timeout: float | None
    inputs: list[bytes]  # results of the jobs it waited for, by position
    key: str | None
    group: str | None
    created_at: float
    headers: bytes | None

@final
class Outcome:
    """How an attempt ended."""

    @staticmethod
    def success(job: LeasedJob, result: bytes) -> Outcome: ...
    @staticmethod
    def failure(
        job: LeasedJob, error: bytes, *, retry: bool = True, delay: float | None = None
    ) -> Outcome:
        """`error`: JSON object with `type`, `message`, `traceback`. `retry=False`: dead at once.
        `delay`: seconds to the next attempt instead of the policy's (still counted as a retry)."""
    @staticmethod
    def cancelled(job: LeasedJob, reason: str) -> Outcome: ...
    @staticmethod
    def release(job: LeasedJob) -> Outcome:
        """Back to its queue, not run (a worker that stops): the attempt does not count."""
    @staticmethod
    def suspend(
        job: LeasedJob, *, until: float | None = None, signal: str | None = None
    ) -> Outcome:
        """Aside until a time (None: for ever), or until the signal came: at once where it came
        before. The attempt goes on then, with all its steps."""

@final
class Settled:
    """What the broker made of an outcome."""

    id: str
    state: State | Literal["stale"]  # stale: the lease was lost, and nothing was changed
    run_at: float | None  # of the next attempt, where there is one

@final
class JobRecord:
    """A job as the broker knows it."""

    id: str
    task: str
    queue: str
    state: State
    priority: int
    attempt: int  # attempts begun
    max_retries: int
    created_at: float
    run_at: float | None
    started_at: float | None
    finished_at: float | None
    timeout: float | None
    key: str | None
    group: str | None
    worker: str | None
    progress: float | None  # 0 to 1
    message: str | None  # of the progress
    reason: str | None  # why cancelled or dead
    payload: bytes
    result: bytes | None
    error: bytes | None  # of the last failed attempt
    cancel_requested: bool
    version: int  # grows with each change that `watch` should see
    headers: bytes | None
    limit_key: str | None
    signal: str | None  # that it waits for

@final
class AttemptRecord:
    """An attempt that did not succeed."""

    attempt: int
    token: int
    worker: str | None
    started_at: float | None
    ended_at: float
    end: str  # "failed", "lost" (its worker went away) or "cancelled"
    error: bytes | None

@final
class LimitRecord:
    """A limit that holds across all workers."""

    scope: str  # "queue:NAME", "task:NAME", or "key:TASK": of each of its keys
    concurrency: int | None
    rate: float | None  # a second
    burst: float | None
    declared: bool  # by a task's decorator, and not by `set_limit`

@final
class QueueRecord:
    name: str
    paused: bool
    counts: dict[State, int]
    oldest_queued_at: float | None

@final
class WorkerRecord:
    name: str
    hostname: str
    pid: int
    queues: list[str]
    concurrency: int
    started_at: float
    seen_at: float
    running: int
    processed: int
    failed: int
    report: bytes | None  # what the worker says of itself

@final
class ScheduleSpec:
    """A schedule. Exactly one of `cron`, `every`, `solar` and `at` is given.

    `cron`: five fields, or six with seconds first. `tz`: an IANA name. `every`: seconds. `solar`:
    an event of the sun, latitude, longitude. `at`: once, in seconds since the epoch. `catch_up`:
    how many missed ticks fire at most, the newest.
    `template`: a NewJob whose id, key and run_at are ignored. A tick that a stopped scheduler
    missed fires once on return if it is younger than `grace` seconds.
    """

    def __new__(
        cls,
        *,
        name: str,
        template: NewJob,
        cron: str | None = None,
        tz: str = "UTC",
        every: float | None = None,
        solar: tuple[str, float, float] | None = None,
        at: float | None = None,
        grace: float = 60.0,
        catch_up: int = 1,
    ) -> ScheduleSpec: ...
    name: str

@final
class ScheduleRecord:
    name: str
    task: str
    queue: str
    cron: str | None
    tz: str
    every: float | None
    next_at: float | None
    last_at: float | None
    last_job: str | None
    owner: str  # "@api": made at run time
    paused: bool
    grace: float
    catch_up: int

@final
class Broker:
    """A broker of jobs, shared by all threads of the process.

    url: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`. Opening creates and migrates.
    `?synchronous=normal` makes writes faster: they survive the death of any process, but a power
    cut may take the last moments. While it is open, this process must not open the same file with
    Python's `sqlite3`, which is another copy of SQLite: they would not see each other's locks.
    """

    def __new__(cls, url: str) -> Broker: ...
    url: str
    @property
    def capabilities(self) -> frozenset[str]:
        """What it can do beyond what all brokers can: "steps" (and signals), "limits", "fair",
        "failure_edges" (error callbacks), "history", "key_windows", "dynamic_schedules", "orders",
        "bulk_control" (of workflows and queues)."""
    def close(self) -> None:
        """Waits for writes under way; later calls raise BrokerError."""
    def enqueue(
        self,
        jobs: Sequence[NewJob],
        edges: Sequence[Edge] = ...,
        *,
        waiter: asyncio.Future[list[str]] | None = None,
    ) -> list[str] | None:
        """Durable when done; all or nothing. The ids, where a job with the same key was unfinished
        that job's id instead."""
    def get(self, id: str, *, waiter: asyncio.Future[Any] | None = None) -> JobRecord | None: ...
    def watch(
        self, id: str, version: int, wait: float, *, waiter: asyncio.Future[Any] | None = None
    ) -> JobRecord | None:
        """The record once its version is above `version`; None after `wait` seconds, or where
        there is no such job."""
    def list_jobs(
        self,
        *,
        state: str | None = None,
        queue: str | None = None,
        task: str | None = None,
        group: str | None = None,
        limit: int = 50,
        before: str | None = None,  # an id: only older ones
        waiter: asyncio.Future[Any] | None = None,
    ) -> list[JobRecord] | None:
        """Newest first."""
    def cancel(
        self, id: str, reason: str = ..., *, waiter: asyncio.Future[Any] | None = None
    ) -> bool | None:
        """Queued, scheduled and waiting jobs end at once, and so do those that wait for them;
        a running one gets `cancel_requested`. False: ended already, or unknown."""
    def retry(self, id: str, *, waiter: asyncio.Future[Any] | None = None) -> bool | None:
        """A dead or cancelled job is queued again, with all its retries."""
    def delete(self, id: str, *, waiter: asyncio.Future[Any] | None = None) -> bool | None:
        """Only ended jobs."""
    def set_paused(
        self, queue: str, paused: bool, *, waiter: asyncio.Future[Any] | None = None
    ) -> None:
        """Workers lease nothing from a paused queue."""
    def queues(self, *, waiter: asyncio.Future[Any] | None = None) -> list[QueueRecord] | None: ...
    def workers(self, *, waiter: asyncio.Future[Any] | None = None) -> list[WorkerRecord] | None:
        """Those seen in the last two minutes."""
    def schedules(
        self, *, waiter: asyncio.Future[Any] | None = None
    ) -> list[ScheduleRecord] | None: ...
    def signal(
        self, id: str, name: str, value: bytes, *, waiter: asyncio.Future[Any] | None = None
    ) -> bool | None:
        """Sends a signal to a job; False: it has ended, or is unknown."""
    def history(
        self, id: str, *, waiter: asyncio.Future[Any] | None = None
    ) -> list[AttemptRecord] | None:
        """The attempts of a job that did not succeed, oldest first; the newest 50."""
    def group_counts(
        self, group: str, *, waiter: asyncio.Future[Any] | None = None
    ) -> dict[State, int] | None:
        """How many jobs of a workflow are in each state."""
    def cancel_group(
        self, group: str, reason: str = ..., *, waiter: asyncio.Future[Any] | None = None
    ) -> int | None:
        """Cancels all jobs of a workflow that have not ended. How many."""
    def purge_queue(
        self, queue: str, limit: int = 1000, *, waiter: asyncio.Future[Any] | None = None
    ) -> int | None:
        """Cancels up to `limit` jobs of a queue that are not running. How many."""
    def set_limit(
        self,
        scope: str,
        *,
        concurrency: int | None = None,
        rate: float | None = None,
        burst: float | None = None,
        waiter: asyncio.Future[Any] | None = None,
    ) -> None:
        """Sets a limit for all workers, or removes it where neither is given."""
    def declare_limit(
        self,
        scope: str,
        *,
        concurrency: int | None = None,
        rate: float | None = None,
        burst: float | None = None,
        waiter: asyncio.Future[Any] | None = None,
    ) -> None:
        """As `set_limit`, for what a task declares: it gives way to what `set_limit` set."""
    def limits(self, *, waiter: asyncio.Future[Any] | None = None) -> list[LimitRecord] | None:
        """All limits, by scope."""
    def acquire(
        self,
        bucket: str,
        rate: float,
        burst: float | None = None,
        cost: float = 1.0,
        *,
        waiter: asyncio.Future[Any] | None = None,
    ) -> float | None:
        """Takes from a bucket that all programs share: None, or the seconds to wait before the
        next try."""
    def put_schedule(
        self, schedule: ScheduleSpec, *, waiter: asyncio.Future[Any] | None = None
    ) -> None:
        """Adds or changes a schedule that no program declares."""
    def remove_schedule(
        self, name: str, *, waiter: asyncio.Future[Any] | None = None
    ) -> bool | None:
        """False: there is none of this name."""
    def pause_schedule(
        self, name: str, paused: bool, *, waiter: asyncio.Future[Any] | None = None
    ) -> bool | None:
        """False: there is none of this name."""
    def run_schedule(self, name: str, *, waiter: asyncio.Future[Any] | None = None) -> str | None:
        """Enqueues a schedule's job now; its id, or None where there is no such schedule."""
    def order_workers(
        self, name: str | None, order: bytes, *, waiter: asyncio.Future[Any] | None = None
    ) -> int | None:
        """Orders something of the workers of this name, or of all. How many were told."""

@final
class WorkerSession:
    """One worker's leases. A thread of the core renews them every third of `lease` seconds,
    whatever Python does, until their outcome is in; it also keeps the worker's heartbeat.

    `on_cancel(ids)` is called from that thread, with the GIL, when running jobs should be
    cancelled; `on_lost(ids)` when their leases were lost (the process slept, say): their outcomes
    will be stale, so stop them; `on_order(orders)` for what `Broker.order_workers` was given.
    """

    def __new__(
        cls,
        broker: Broker,
        *,
        name: str,
        queues: Sequence[str],  # empty: all
        skip: Sequence[str] = ...,  # queues that it leaves to others, even so
        concurrency: int,
        lease: float = 15.0,
        on_cancel: Callable[[list[str]], None],
        on_lost: Callable[[list[str]], None],
        on_order: Callable[[list[bytes]], None] | None = None,
    ) -> WorkerSession: ...
    def lease(
        self, limit: int, wait: float, *, waiter: asyncio.Future[Any] | None = None
    ) -> list[LeasedJob] | None:
        """Up to `limit` due jobs; an empty list after `wait` seconds without one. It wakes for
        new jobs of this process at once and for those of others within 10 ms. Expired leases of
        dead workers are taken over here."""
    def finish(
        self, outcomes: Sequence[Outcome], *, waiter: asyncio.Future[Any] | None = None
    ) -> list[Settled] | None:
        """One write for all: states, results, successors, next attempts."""
    def progress(self, job: LeasedJob, fraction: float, message: str | None = None) -> None:
        """Returns at once; only the newest is written, at most 20 times a second."""
    def steps(
        self, job: LeasedJob, *, waiter: asyncio.Future[Any] | None = None
    ) -> dict[str, bytes] | None:
        """The results of the steps that the job has finished, by name."""
    def save_step(
        self,
        job: LeasedJob,
        step: str,
        value: bytes,
        *,
        waiter: asyncio.Future[Any] | None = None,
    ) -> bool | None:
        """Keeps a step's result for later attempts; False where the lease is lost."""
    def take_signal(
        self,
        job: LeasedJob,
        signal: str,
        step: str,
        *,
        waiter: asyncio.Future[Any] | None = None,
    ) -> bytes | None:
        """Makes the oldest signal of this name the result of a step, and gives it; None where none
        came. The step's own result where it has one."""
    def report(self, report: bytes) -> None:
        """What `WorkerRecord.report` says of this worker, from its next sign of life."""
    def close(self) -> None:
        """Ends the heartbeat, removes the worker; leases still held expire by themselves."""

@final
class SchedulerSession:
    """Fires schedules while it is the leader among all schedulers of the broker."""

    def __new__(
        cls, broker: Broker, *, name: str, schedules: Sequence[ScheduleSpec], owner: str = ...
    ) -> SchedulerSession:
        """Writes the schedules as those of `owner` (an application), whose others are removed.

        Schedules are stored with their templates: whoever leads fires those of all owners."""
    def step(
        self, *, waiter: asyncio.Future[Any] | None = None
    ) -> tuple[bool, list[tuple[str, str]], list[str], float] | None:
        """(whether it leads, the (schedule, job id) fired now, the schedules that are due but
        cannot be read here, seconds to sleep at most). A tick fires once, whatever number of
        schedulers run and whenever they are killed."""
    def close(self) -> None:
        """Gives up the lead."""

# --- observe ------------------------------------------------------------------------------------

def stalls() -> list[dict[str, Any]]:
    """The newest stalls, oldest first; see `pelton.observe.stalls`."""

def clear_stalls() -> None:
    """Forget all stalls."""

def stall_limit() -> float | None:
    """The limit in seconds, or None when nobody watches."""

def set_stall_limit(seconds: float | None) -> None:
    """Set the limit; None ends the watch. ValueError for less than a millisecond."""

def pause_watchdog() -> None:
    """End the watchdog's thread; a busy loop starts it again."""

def forget_watched() -> None:
    """After a fork, in the child: the parent's loops do not run here."""

# --- resilience ---------------------------------------------------------------------------------

@final
class RateLimiter:
    """At most `limit` permits per `period` seconds for each key, `burst` of them at once.

    Generic cell rate algorithm. At most `max_keys` are remembered; beyond that, those that have
    used least are forgotten. ValueError for a rate that makes no sense. Threads may share it.
    """

    def __new__(cls, limit: int, period: float, *, burst: int, max_keys: int) -> RateLimiter: ...
    def take(
        self, key: bytes, *, cost: int = 1, now: float | None = None
    ) -> tuple[bool, int, float | None, float]:
        """Asks for `cost` permits, at seconds `now` of any clock instead of the process's own.

        (allowed, permits left, seconds until the same would be allowed or None for never, seconds
        until all permits are back). What is refused costs nothing."""
    @property
    def keys(self) -> int:
        """How many keys are remembered."""
    @property
    def evicted(self) -> int:
        """How many keys were forgotten early, for want of room."""

@final
class Bulkhead:
    """At most `limit` at a time and `queue` waiting, in order of arrival. Threads may share it."""

    def __new__(cls, limit: int, queue: int) -> Bulkhead: ...
    def enter(self) -> Literal[True] | int | None:
        """True: in, and `leave` must follow. A ticket: waits. None: refused, all is full."""
    def leave(self) -> int | None:
        """Somebody who was in has left; the ticket that is in now in its place."""
    def withdraw(self, ticket: int) -> bool:
        """Gives up waiting; False if the ticket was in already, and must leave."""
    @property
    def running(self) -> int:
        """How many are in."""
    @property
    def waiting(self) -> int:
        """How many wait."""

def limit_key(address: str) -> bytes:
    """The key by which rate limits know a client's address: of IPv6, the network of 64 bits."""
