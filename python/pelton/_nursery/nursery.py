"""`open_nursery`: a block of code whose tasks all end before it does."""

from __future__ import annotations

import asyncio
import functools
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, TypeVarTuple

from pelton._nursery.checkpoint import give_way
from pelton._nursery.delivery import ATTRIBUTE, TaskScopes, current_scopes, is_cancelled
from pelton._nursery.scope import CancelScope

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
Ts = TypeVarTuple("Ts")


class TaskStatus(Protocol[T_contra]):
    """What a function given to `Nursery.start` gets as `task_status`."""

    def started(self, value: T_contra = ..., /) -> None:
        """Tell the caller of `start` that the task is ready, and give it `value`.

        RuntimeError when called twice.
        """


class _IgnoredStatus:
    """The default for `task_status`: whoever called the function does not wait for it."""

    def started(self, value: object = None, /) -> None:
        """Do nothing."""

    def __repr__(self) -> str:
        return "TASK_STATUS_IGNORED"


TASK_STATUS_IGNORED: TaskStatus[Any] = _IgnoredStatus()


class Nursery:
    """Tasks that belong to the block that opened them; `open_nursery` makes it.

    `cancel_scope` surrounds the block and all its tasks. The first exception in one of them cancels
    the others.
    """

    def __init__(self, host: asyncio.Task[Any]) -> None:
        self.cancel_scope = CancelScope()
        self._children: set[asyncio.Task[Any]] = set()
        self.cancel_scope._children = self._children
        self._host = host
        self._loop = host.get_loop()
        self._errors: list[BaseException] = []
        self._child_was_cancelled = False
        self._starting = 0
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def child_tasks(self) -> frozenset[asyncio.Task[Any]]:
        """The tasks that have not ended yet."""
        return frozenset(self._children)

    @property
    def parent_task(self) -> asyncio.Task[Any]:
        """The task that opened the nursery."""
        return self._host

    def start_soon(
        self,
        function: Callable[[*Ts], Awaitable[Any]],
        *args: *Ts,
        name: object = None,
    ) -> None:
        """Run `await function(*args)` in a new task of this nursery.

        The task starts at one of the next turns of the loop, and runs to its first await even if
        the nursery was cancelled by then. Keyword arguments go through `functools.partial`. `name`
        names the task; by default the function does. RuntimeError after the nursery's end.
        """
        if self._closed:
            raise RuntimeError("the nursery is closed to new tasks: its block has ended")
        self._spawn(function, args, name, self.cancel_scope)

    async def start(
        self, function: Callable[..., Awaitable[Any]], *args: Any, name: object = None
    ) -> Any:
        """Run `function(*args, task_status=...)` in a new task, and wait until it is ready.

        Returns what the function gives to `task_status.started`. Until then the task belongs to
        the caller: cancelling the caller cancels it, and its exception is raised here; RuntimeError
        if it ends without calling `started`. From then on it belongs to this nursery.
        """
        if self._closed:
            raise RuntimeError("the nursery is closed to new tasks: its block has ended")
        self._starting += 1
        try:
            status: _Status[Any] = _Status(self)
            try:
                async with open_nursery() as waiting:
                    status.waiting = waiting
                    base = CancelScope()
                    base._parent = waiting.cancel_scope
                    status.base = base
                    waiting._spawn(
                        functools.partial(function, task_status=status), args, name, base, function
                    )
            except BaseExceptionGroup as group:
                _raise_only(group)
            if not status.called:
                raise RuntimeError(
                    f"{_name_of(function)} ended without calling task_status.started()"
                )
            return status.value
        finally:
            self._starting -= 1
            self._wake_if_empty()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<Nursery {state}, {len(self._children)} tasks>"

    def _spawn(
        self,
        function: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        name: object,
        base: CancelScope,
        named: Callable[..., Any] | None = None,
    ) -> None:
        coroutine = _coroutine(function, args)
        task_name = str(name) if name is not None else _name_of(named or function)
        if self._loop.get_task_factory() is not None:
            # An eager factory runs the first step before it hands out the task.
            coroutine = self._adopted(coroutine, base)
        try:
            task = self._loop.create_task(coroutine, name=task_name)
        except BaseException:
            coroutine.close()
            raise
        self._adopt(task, base)

    async def _adopted(self, coroutine: Coroutine[Any, Any, Any], base: CancelScope) -> Any:
        task = asyncio.current_task()
        assert task is not None  # it runs this
        self._adopt(task, base)
        return await coroutine

    def _adopt(self, task: asyncio.Task[Any], base: CancelScope) -> None:
        if hasattr(task, ATTRIBUTE):
            return
        scopes = TaskScopes(task, base)
        scopes.nursery = self
        task._pelton_scopes = scopes  # type: ignore[attr-defined]
        self._children.add(task)
        task.add_done_callback(_child_ended)
        if is_cancelled(base):
            scopes.kick()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._children.discard(task)
        if task.cancelled():
            if is_cancelled(self.cancel_scope):
                self._child_was_cancelled = True
        else:
            error = task.exception()
            if error is not None:
                self._errors.append(error)
                self.cancel_scope.cancel()
        self._wake_if_empty()

    def _wake_if_empty(self) -> None:
        waiter = self._waiter
        if not (self._children or self._starting or waiter is None or waiter.done()):
            waiter.set_result(None)

    async def _join(self, scopes: TaskScopes) -> CancelledError | None:
        """Wait for the children, whatever happens; return what `Task.cancel` raised meanwhile."""
        cancelled: CancelledError | None = None
        scopes.blocked = True
        try:
            first = True
            while first or self._children or self._starting:
                try:
                    if self._children or self._starting:
                        self._waiter = self._loop.create_future()
                        await self._waiter
                    else:
                        await give_way()
                except CancelledError as error:
                    cancelled = error
                    self.cancel_scope.cancel()
                first = False
        finally:
            self._waiter = None
            self._closed = True
            scopes.unblock()
        return cancelled

    async def _outcome(self, failure: BaseException | None) -> BaseException | None:
        """What the block ends with once all tasks have ended; errors go before cancellation."""
        if failure is not None:
            if not isinstance(failure, CancelledError):
                self._errors.append(failure)
            self.cancel_scope.cancel()
        cancelled = await self._join(current_scopes())
        try:
            if self._errors:
                if cancelled is not None:
                    # The request that the errors displace is made again, at the next await.
                    self._host.uncancel()
                    self._host.cancel()
                return BaseExceptionGroup("unhandled errors in a nursery", self._errors)
            if cancelled is not None:
                return cancelled
            if failure is None and self._child_was_cancelled:
                return CancelledError()
            return failure
        finally:
            self._errors = []
            del failure, cancelled


class _NurseryManager(AbstractAsyncContextManager[Nursery]):
    """What `open_nursery` returns: makes the nursery when it is entered."""

    __slots__ = ("_nursery",)

    async def __aenter__(self) -> Nursery:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a nursery must be opened in an asyncio task")
        nursery = self._nursery = Nursery(task)
        nursery.cancel_scope.__enter__()
        return nursery

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        scope = self._nursery.cancel_scope
        outcome = await self._nursery._outcome(exc)
        try:
            if outcome is exc:
                return scope.__exit__(exc_type, exc, traceback)
            assert outcome is not None  # an exception does not vanish
            if scope.__exit__(type(outcome), outcome, outcome.__traceback__):
                return True
            context = outcome.__context__
            try:
                raise outcome
            finally:
                outcome.__context__ = context
        finally:
            del outcome, exc


def open_nursery() -> AbstractAsyncContextManager[Nursery]:
    """`async with open_nursery() as nursery:` a block that starts tasks and waits for them all.

    If the block or a task raises, the rest is cancelled, and everything raised leaves the block in
    an ExceptionGroup (always a group, also for one). Errors go before cancellation. A task that
    somebody cancels by `Task.cancel` just ends. If the task that opened the nursery is cancelled
    so, its children are cancelled, waited for, and the CancelledError goes on. Leaving the block
    lets other tasks run, and raises no CancelledError of its own. Semantics: `trio.open_nursery`.
    """
    return _NurseryManager()


class _Status(Generic[T]):
    """The `task_status` of one task, which moves it to where it belongs."""

    def __init__(self, target: Nursery) -> None:
        self.target = target
        self.waiting: Nursery | None = None
        self.base: CancelScope | None = None
        self.called = False
        self.value: T | None = None

    def started(self, value: T | None = None, /) -> None:
        """See `TaskStatus.started`."""
        if self.called:
            raise RuntimeError("task_status.started() was called twice")
        self.called = True
        self.value = value
        waiting, base = self.waiting, self.base
        assert waiting is not None  # set before the task was made
        assert base is not None
        if is_cancelled(waiting.cancel_scope):
            return  # it is about to end; `start` waits for it
        children, waiting._children = waiting._children, set()
        waiting.cancel_scope._children = waiting._children
        base._parent = self.target.cancel_scope
        self.target._children |= children
        for task in children:
            scopes: TaskScopes = getattr(task, ATTRIBUTE)
            scopes.nursery = self.target
            scopes.kick()
        waiting._wake_if_empty()


def _child_ended(task: asyncio.Task[Any]) -> None:
    scopes: TaskScopes = getattr(task, ATTRIBUTE)
    if scopes.pause is not None:
        scopes.pause.cancel()
    if scopes.nursery is not None:
        scopes.nursery._ended(task)


def _coroutine(
    function: Callable[..., Awaitable[Any]], args: tuple[Any, ...]
) -> Coroutine[Any, Any, Any]:
    if isinstance(function, Coroutine):
        function.close()
        raise TypeError(
            "pass the async function and its arguments apart, not a coroutine: "
            "nursery.start_soon(function, argument), not nursery.start_soon(function(argument))"
        )
    coroutine = function(*args)
    if not isinstance(coroutine, Coroutine):
        raise TypeError(
            f"an async function was expected, but {_name_of(function)} returned "
            f"{type(coroutine).__name__}"
        )
    return coroutine


def _name_of(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    name: str | None = getattr(function, "__qualname__", None)
    return repr(function) if name is None else f"{function.__module__}.{name}"


def _raise_only(group: BaseExceptionGroup[BaseException]) -> None:
    """Raise the only exception of a group bare, as if there had been no group; else the group."""
    error: BaseException = group
    if len(group.exceptions) == 1:
        error = group.exceptions[0]
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error, group, context
