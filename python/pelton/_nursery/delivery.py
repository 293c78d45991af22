"""Level cancellation of stock asyncio tasks: who is told, when, and when again.

asyncio tells a task once: `Task.cancel` makes the await it stands at raise, and what it awaits
next goes on as if nothing had been. A scope tells it at every await until the scope ends. After
each delivery the task is looked at again, and not before its next step: the look is a done callback
of the very future that the task waits for, registered behind the task's own, so it runs directly
after the step. A task that stays where it is costs nothing, however long it stays.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pelton._nursery.nursery import Nursery
    from pelton._nursery.scope import CancelScope

# AnyIO's scopes let through what starts like this when both kinds of scope are cancelled at once.
MESSAGE = "Cancelled via cancel scope of pelton"

# How often in a row a task may go on after a delivery, and be told again at once; asyncio.TaskGroup
# and others wait in a loop that swallows cancellation. Then it is told after growing pauses.
AT_ONCE_MAX = 32
PAUSE_MIN_S = 0.001
PAUSE_MAX_S = 0.1

ATTRIBUTE = "_pelton_scopes"


class TaskScopes:
    """What is known of one task: the innermost scope it is in, and what was delivered to it."""

    __slots__ = (
        "armed",
        "blocked",
        "current",
        "deliveries",
        "nursery",
        "pause",
        "pausing",
        "swallowed",
        "task",
    )

    def __init__(self, task: asyncio.Task[Any], current: CancelScope | None = None) -> None:
        self.task = weakref.ref(task)  # the task refers to this
        self.current = current
        self.nursery: Nursery | None = None
        # Calls of Task.cancel made here that no scope's exit has taken back yet.
        self.deliveries = 0
        # Deliveries since a cancelled scope last ended, and whether the next is to wait.
        self.swallowed = 0
        self.pausing = False
        # Whether `_look` will be called: after the step of an await, or when `pause` ends.
        self.armed = False
        self.pause: asyncio.TimerHandle | None = None
        # Whether the task waits for something that must end first: children, or a thread.
        self.blocked = False

    def kick(self) -> None:
        """Deliver what the task's scopes ask for, now or after its current step."""
        self.pausing = False
        if self.pause is not None:
            self.pause.cancel()
            self.pause = None
            self.armed = False
        if self.armed or self.blocked or not is_cancelled(self.current):
            return
        self._deliver()

    def unblock(self) -> None:
        """The task waits no longer for what must end first: make up for what was kept from it."""
        self.blocked = False
        if is_cancelled(self.current):
            self.kick()

    def settle(self, deliveries: int) -> None:
        """Take back what was delivered beyond `deliveries`: the scope it was for has ended."""
        task = self.task()
        while self.deliveries > deliveries:
            self.deliveries -= 1
            if task is not None:
                task.uncancel()
        self.swallowed = 0
        self.pausing = False

    def _deliver(self) -> None:
        task: Any = self.task()
        if task is None or task.done():
            return
        waiter = task._fut_waiter
        if waiter is None and not _is_at_bare_yield(task):
            # In its step, or before its first, which always runs up to an await.
            self._look_soon(task)
        elif waiter is not None and waiter.done():
            # What it waited for came first. It gets it, and is told at its next await.
            self._look_soon(task)
        elif self.pausing:
            self.pausing = False
            self._look_later(task)
        else:
            self.swallowed += 1
            self.pausing = self.swallowed >= AT_ONCE_MAX
            self.deliveries += 1
            task.cancel(MESSAGE)
            if waiter is None:
                self._look_soon(task)
            else:
                self.armed = True
                waiter.add_done_callback(self._look)

    def _look_soon(self, task: asyncio.Task[Any]) -> None:
        self.armed = True
        task.get_loop().call_soon(self._look)

    def _look_later(self, task: asyncio.Task[Any]) -> None:
        doublings = min(self.swallowed - AT_ONCE_MAX, 10)
        pause_s = min(PAUSE_MIN_S * 2**doublings, PAUSE_MAX_S)
        self.armed = True
        self.pause = task.get_loop().call_later(pause_s, self._look)

    def _look(self, _waiter: object = None) -> None:
        self.armed = False
        self.pause = None
        if not self.blocked and is_cancelled(self.current):
            self._deliver()


def scopes_of(task: asyncio.Task[Any]) -> TaskScopes:
    """What is known of `task`, from now on if nothing was."""
    try:
        scopes: TaskScopes = task._pelton_scopes  # type: ignore[attr-defined]
    except AttributeError:
        scopes = TaskScopes(task)
        task._pelton_scopes = scopes  # type: ignore[attr-defined]
    return scopes


def current_scopes() -> TaskScopes:
    """What is known of the running task. RuntimeError outside of a task."""
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("there is no running task: this must be used in an asyncio task")
    return scopes_of(task)


def is_cancelled(scope: CancelScope | None) -> bool:
    """Whether code directly in `scope` is to be cancelled, by it or by one around it."""
    while scope is not None:
        if scope._called:
            return True
        if scope._shield:
            return False
        scope = scope._parent
    return False


def kick_all(scope: CancelScope) -> None:
    """Deliver to every task in `scope`: its own, and those of nurseries in it at any depth."""
    for scopes in list(_tasks_in(scope)):
        scopes.kick()


def _tasks_in(scope: CancelScope) -> Iterator[TaskScopes]:
    if scope._scopes is None:
        return
    yield scope._scopes
    # Each task with the scope that its own scopes lie in.
    waiting = list(_children_between(scope._scopes.current, scope._parent))
    while waiting:
        scopes, root = waiting.pop()
        yield scopes
        waiting.extend(_children_between(scopes.current, root))


def _children_between(
    inner: CancelScope | None, root: CancelScope | None
) -> Iterator[tuple[TaskScopes, CancelScope]]:
    while inner is not None and inner is not root:
        for child in inner._children or ():
            scopes: TaskScopes | None = getattr(child, ATTRIBUTE, None)
            if scopes is not None:
                yield scopes, inner
        inner = inner._parent


def _is_at_bare_yield(task: asyncio.Task[Any]) -> bool:
    """Whether a task without a waiter has been started and given way, and is not in its step."""
    coroutine: Any = task.get_coro()
    suspended = getattr(coroutine, "cr_suspended", None)
    if suspended is None:
        suspended = getattr(coroutine, "gi_suspended", None)
    if suspended is None:  # neither a coroutine nor a generator of CPython: Cython's, say
        return task is not asyncio.current_task(task.get_loop())
    return bool(suspended)
