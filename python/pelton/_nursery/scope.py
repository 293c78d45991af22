"""`CancelScope`: a block of code that can be cancelled as a whole."""

from __future__ import annotations

import asyncio
import math
from asyncio import CancelledError
from types import TracebackType
from typing import Any

from pelton._nursery.delivery import TaskScopes, current_scopes, is_cancelled, kick_all

_running_loop = asyncio.get_running_loop
_current_task = asyncio.current_task


class CancelScope:
    """A `with` block that ends early once it is cancelled, or its deadline has passed.

    Every await in it then raises CancelledError, again and again until the block ends, which
    swallows the CancelledError: `cancelled_caught` says so. Scopes nest; an outer one cancels what
    is in the inner ones, unless they shield. A scope belongs to the task that entered it, and to
    the children of nurseries opened in it, but not to tasks made by `asyncio.create_task`.

    `deadline` is in seconds of the running loop's `time()`. A cancellation from elsewhere
    (`Task.cancel`, `asyncio.timeout`) passes through. Not thread-safe. The semantics are those of
    `trio.CancelScope`.
    """

    __slots__ = (
        "__weakref__",
        "_called",
        "_cancelling",
        "_caught",
        "_children",
        "_deadline",
        "_deliveries",
        "_loop",
        "_parent",
        "_relative",
        "_scopes",
        "_shield",
        "_task",
        "_timer",
        "_used",
    )

    def __init__(self, *, deadline: float = math.inf, shield: bool = False) -> None:
        if deadline != deadline:
            raise ValueError("a deadline must not be NaN")
        if shield is not True and shield is not False:
            raise TypeError(f"shield must be a bool, not {type(shield).__name__}")
        self._deadline = deadline
        self._shield = shield
        self._relative = math.inf
        self._called = self._caught = self._used = False
        self._parent: CancelScope | None = None
        self._task: asyncio.Task[Any] | None = None
        self._scopes: TaskScopes | None = None
        self._children: set[asyncio.Task[Any]] | None = None  # those of the scope's nursery
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> CancelScope:
        if self._used:
            raise RuntimeError("a CancelScope can be entered once: make a new one")
        scopes = current_scopes()
        task = scopes.task()
        assert task is not None  # it is running
        self._used = True
        self._task = task
        self._scopes = scopes
        self._parent = scopes.current
        scopes.current = self
        # To tell later what was asked for by others while the scope was entered.
        self._deliveries = scopes.deliveries
        self._cancelling = task.cancelling() - scopes.deliveries
        if self._relative != math.inf or self._deadline != math.inf:
            loop = _running_loop()
            self._deadline = min(self._deadline, loop.time() + self._relative)
            self._relative = math.inf
            self._set_timer(loop)
        if self._called:
            scopes.kick()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        scopes, task = self._scopes, self._task
        if scopes is None or task is None or scopes.current is not self:
            self._leave_out_of_order()
            return False
        if _current_task(task.get_loop()) is not task and exc_type is not GeneratorExit:
            raise RuntimeError("a scope must be left in the same task that entered it")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        scopes.current = parent = self._parent
        self._scopes = self._task = None
        if not (self._called or self._shield or scopes.deliveries != self._deliveries):
            return False
        parent_cancelled = is_cancelled(parent)
        if parent_cancelled and not self._shield:
            return False  # the CancelledError, and its count, are the outer scope's
        scopes.settle(self._deliveries)
        if parent_cancelled:
            scopes.kick()  # out of the shield
        if not self._called or exc is None:
            return False
        if task.cancelling() - scopes.deliveries > self._cancelling:
            return False  # somebody else wants the task cancelled too
        return self._catch(exc)

    def cancel(self) -> None:
        """Cancel what is in the scope, or will be once it is entered. Idempotent."""
        if self._called:
            return
        self._called = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        kick_all(self)

    @property
    def cancel_called(self) -> bool:
        """Whether `cancel` was called, or the deadline has passed, while the scope was open."""
        if not self._called and self._scopes is not None and self._deadline != math.inf:
            self._cancel_if_due()
        return self._called

    @property
    def cancelled_caught(self) -> bool:
        """Whether the scope has ended and swallowed a CancelledError of its own."""
        return self._caught

    @property
    def deadline(self) -> float:
        """When the scope cancels itself: loop time in seconds, `inf` for never. May be set."""
        if self._relative != math.inf:
            return min(self._deadline, _running_loop().time() + self._relative)
        return self._deadline

    @deadline.setter
    def deadline(self, deadline: float) -> None:
        if deadline != deadline:
            raise ValueError("a deadline must not be NaN")
        self._deadline = float(deadline)
        self._relative = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._scopes is not None and not self._called and self._deadline != math.inf:
            self._set_timer(_running_loop())

    @property
    def shield(self) -> bool:
        """Whether cancellation of the scopes around is kept out. May be set at any time."""
        return self._shield

    @shield.setter
    def shield(self, shield: bool) -> None:
        if shield is not True and shield is not False:
            raise TypeError(f"shield must be a bool, not {type(shield).__name__}")
        self._shield = shield
        if not shield and is_cancelled(self):
            kick_all(self)

    def __repr__(self) -> str:
        state = "open" if self._scopes is not None else "closed" if self._used else "not entered"
        details = "".join(
            text
            for text, holds in (
                (", cancelled", self._called),
                (", shielded", self._shield),
                (f", deadline {self._deadline}", self._deadline != math.inf),
            )
            if holds
        )
        return f"<CancelScope {state}{details}>"

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._deadline <= loop.time():
            self.cancel()
        elif not self._called:
            self._timer = loop.call_at(self._deadline, self.cancel)

    def _cancel_if_due(self) -> None:
        task = self._task
        if task is not None and task.get_loop().time() >= self._deadline:
            self.cancel()

    def _catch(self, exc: BaseException) -> bool:
        """Swallow CancelledError, alone or out of a group, of which the rest is raised."""
        if isinstance(exc, CancelledError):
            self._caught = True
            return True
        if not isinstance(exc, BaseExceptionGroup):
            return False
        caught, rest = exc.split(CancelledError)
        if caught is None:
            return False
        self._caught = True
        if rest is None:
            return True
        context = rest.__context__
        try:
            raise rest
        finally:
            rest.__context__ = context
            del exc, caught, rest, context

    def _leave_out_of_order(self) -> None:
        scopes = self._scopes
        if scopes is None:
            raise RuntimeError("this CancelScope is not open")
        inner = scopes.current
        while inner is not None and inner is not self:
            inner = inner._parent
        if inner is self:  # those inside can never be left properly: they end here
            while (open_scope := scopes.current) is not None:
                scopes.current = open_scope._parent
                if open_scope._timer is not None:
                    open_scope._timer.cancel()
                    open_scope._timer = None
                open_scope._scopes = open_scope._task = None
                if open_scope is self:
                    break
            scopes.settle(self._deliveries)
        raise RuntimeError(
            "scopes must be left in the reverse order of entering them: "
            "a scope inside this one is still open (was it opened in an async generator?)"
        )


class FailScope(CancelScope):
    """A scope that raises TimeoutError instead of ending quietly."""

    __slots__ = ()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        swallow = super().__exit__(exc_type, exc, traceback)
        if self._caught:
            raise TimeoutError from exc
        return swallow


def move_on_at(deadline: float, *, shield: bool = False) -> CancelScope:
    """A scope that ends, quietly, at `deadline` of the loop's clock (`loop.time()`, seconds)."""
    return CancelScope(deadline=deadline, shield=shield)


def move_on_after(seconds: float, *, shield: bool = False) -> CancelScope:
    """A scope that ends, quietly, `seconds` after it was entered. ValueError if negative or NaN."""
    scope = CancelScope(shield=shield)
    scope._relative = _duration(seconds)
    return scope


def fail_at(deadline: float, *, shield: bool = False) -> CancelScope:
    """As `move_on_at`, but TimeoutError is raised if the scope was cancelled and caught it."""
    return FailScope(deadline=deadline, shield=shield)


def fail_after(seconds: float, *, shield: bool = False) -> CancelScope:
    """As `move_on_after`, but TimeoutError is raised if the scope was cancelled and caught it."""
    scope = FailScope(shield=shield)
    scope._relative = _duration(seconds)
    return scope


def shield() -> CancelScope:
    """A scope that keeps cancellation of the scopes around it out: for cleaning up.

    Not from `Task.cancel`, which no scope holds off.
    """
    return CancelScope(shield=True)


def current_effective_deadline() -> float:
    """When the running task will be cancelled by a scope: loop time in seconds.

    `inf` for never, `-inf` if it is cancelled already. RuntimeError outside of a task.
    """
    deadline = math.inf
    scope = current_scopes().current
    while scope is not None:
        if scope.cancel_called:
            return -math.inf
        deadline = min(deadline, scope._deadline)
        if scope._shield:
            break
        scope = scope._parent
    return deadline


def current_time() -> float:
    """The running loop's clock, in seconds, which deadlines count in."""
    return _running_loop().time()


def _duration(seconds: float) -> float:
    if not seconds >= 0:
        raise ValueError(f"a timeout must be a number of seconds from zero, not {seconds!r}")
    return seconds
