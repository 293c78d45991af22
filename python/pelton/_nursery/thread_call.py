"""Calls from tasks into threads, and from those threads back."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

from pelton._nursery.checkpoint import checkpoint_if_cancelled
from pelton._nursery.delivery import TaskScopes, current_scopes
from pelton._nursery.limiter import CapacityLimiter
from pelton._nursery.scope import CancelScope
from pelton._nursery.threads import run_in_worker

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

THREADS_MAX = 40

# One limiter a loop: its waiters are futures of that loop.
_limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, CapacityLimiter] = WeakKeyDictionary()

_here = threading.local()


class _Host:
    """The loop that a worker thread was called from, and the scopes that calls back belong to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, scopes: TaskScopes | None) -> None:
        self.loop = loop
        self.scopes = scopes


def default_limiter() -> CapacityLimiter:
    """What bounds the threads of the running loop where no `limiter` is given: 40, at first."""
    loop = asyncio.get_running_loop()
    limiter = _limiters.get(loop)
    if limiter is None:
        limiter = _limiters[loop] = CapacityLimiter(THREADS_MAX)
    return limiter


async def run_in_thread(
    function: Callable[[*Ts], T],
    *args: *Ts,
    limiter: CapacityLimiter | None = None,
    abandon_on_cancel: bool = False,
) -> T:
    """Run `function(*args)` in a worker thread and return, or raise, what it does.

    The thread sees a copy of the context variables, and may call back by `pelton.from_thread`.
    `limiter` bounds how many run at once (the loop's default: 40). A thread cannot be interrupted:
    when the caller is cancelled, this waits until the function has returned; a cancelled scope then
    has its say at the next await, `Task.cancel` at once. With `abandon_on_cancel` this is cancelled
    at once, the function runs on, and what it returns or raises is dropped; its token of the
    limiter is returned when it ends.
    """
    await checkpoint_if_cancelled()
    loop = asyncio.get_running_loop()
    scopes = current_scopes()
    bound = default_limiter() if limiter is None else limiter
    borrower = object()
    await bound.acquire_on_behalf_of(borrower)
    result: asyncio.Future[T] = loop.create_future()
    host = _Host(loop, None if abandon_on_cancel else scopes)

    def finish(value: Any, error: BaseException | None) -> None:
        bound.release_on_behalf_of(borrower)
        if result.done():
            return  # abandoned
        if error is None:
            result.set_result(value)
        elif isinstance(error, StopIteration):  # no future carries one
            result.set_exception(RuntimeError("the function raised StopIteration"))
        else:
            result.set_exception(error)

    def done(value: Any, error: BaseException | None) -> None:
        # A loop closed under an abandoned call raises: nobody is left to be told.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, value, error)

    try:
        run_in_worker(functools.partial(_call, host, function, args), done)
    except BaseException:  # no thread can be started
        bound.release_on_behalf_of(borrower)
        raise
    if abandon_on_cancel:
        return await result
    return await wait_blocked(result, scopes)


def _call(host: _Host, function: Callable[..., T], args: tuple[Any, ...]) -> T:
    _here.host = host
    try:
        return function(*args)
    finally:
        del _here.host


async def wait_blocked(result: asyncio.Future[T], scopes: TaskScopes) -> T:
    """Wait until `result` is done whatever cancels the task; a `Task.cancel` is raised then."""
    cancelled: CancelledError | None = None
    scopes.blocked = True
    try:
        while not result.done():
            try:
                await asyncio.wait((result,))
            except CancelledError as error:
                cancelled = error
    finally:
        scopes.unblock()
    try:
        if cancelled is not None:
            result.exception()  # looked at: nobody will
            raise cancelled
        return result.result()
    finally:
        del cancelled, result


def call_from_thread(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run `function(*args)` in the loop's thread and return, or raise, what it does.

    To be called in a thread of `to_thread.run_sync`; RuntimeError elsewhere.
    """
    host = _host()
    answer = _Answer[T]()

    def call() -> None:
        try:
            answer.set(function(*args), None)
        except BaseException as error:
            answer.set(None, error)
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise

    host.loop.call_soon_threadsafe(call, context=contextvars.copy_context())
    return answer.wait()


def run_from_thread(function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """Run `await function(*args)` in a task of the loop, and return, or raise, what it does.

    To be called in a thread of `to_thread.run_sync`; RuntimeError elsewhere. The task is cancelled
    with the scopes around that call, unless it was made with `abandon_on_cancel`.
    """
    host = _host()
    answer = _Answer[T]()
    context = contextvars.copy_context()

    async def run() -> T:
        return await function(*args)

    def start() -> None:
        task = host.loop.create_task(run(), context=context)
        scope = host.scopes.current if host.scopes is not None else None
        if scope is not None:
            _belong(task, scope)
        task.add_done_callback(answer.take)

    host.loop.call_soon_threadsafe(start)
    return answer.wait()


def _belong(task: asyncio.Task[Any], scope: CancelScope) -> None:
    """Make `scope` cancel `task` too, as if it was the child of a nursery in it."""
    scopes = TaskScopes(task, scope)
    task._pelton_scopes = scopes  # type: ignore[attr-defined]
    if scope._children is None:
        scope._children = set()
    children = scope._children
    children.add(task)
    task.add_done_callback(children.discard)
    scopes.kick()


def _host() -> _Host:
    host: _Host | None = getattr(_here, "host", None)
    if host is None:
        raise RuntimeError("this must be called in a thread started by pelton.to_thread.run_sync")
    return host


class _Answer(Generic[T]):
    """What a thread waits for: a result or an exception from the loop."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    def set(self, value: Any, error: BaseException | None) -> None:
        """Answer; called once, in the loop's thread."""
        self._value, self._error = value, error
        self._ready.set()

    def take(self, task: asyncio.Task[T]) -> None:
        """Answer with what a task ended with."""
        if task.cancelled():
            self.set(None, CancelledError())
        elif (error := task.exception()) is not None:
            self.set(None, error)
        else:
            self.set(task.result(), None)

    def wait(self) -> T:
        """Block this thread until the answer is there."""
        self._ready.wait()
        try:
            if self._error is not None:
                raise self._error
            value: T = self._value
            return value
        finally:
            self._error = None
