"""`CapacityLimiter`: how many may do something at once."""

from __future__ import annotations

import asyncio
import math
from asyncio import CancelledError
from collections import OrderedDict
from dataclasses import dataclass
from types import TracebackType

from pelton._nursery.checkpoint import checkpoint_if_cancelled
from pelton._nursery.errors import WouldBlock


@dataclass(frozen=True)
class CapacityLimiterStatistics:
    """A limiter at one moment; `borrowers` are tasks, or what was acquired on behalf of."""

    borrowed_tokens: int
    total_tokens: float
    borrowers: tuple[object, ...]
    tasks_waiting: int


class CapacityLimiter:
    """A number of tokens, of which each borrower holds at most one; first come, first served.

    `total_tokens` is a whole number from one, or `math.inf`; it may be changed at any time. For the
    tasks of one loop; not thread-safe.
    """

    def __init__(self, total_tokens: float) -> None:
        self._borrowers: set[object] = set()
        self._waiting: OrderedDict[object, asyncio.Future[None]] = OrderedDict()
        self._total = _checked(total_tokens)

    @property
    def total_tokens(self) -> float:
        """How many borrowers there may be; lowering it takes no token away."""
        return self._total

    @total_tokens.setter
    def total_tokens(self, total_tokens: float) -> None:
        self._total = _checked(total_tokens)
        self._wake()

    @property
    def borrowed_tokens(self) -> int:
        """How many tokens are out."""
        return len(self._borrowers)

    @property
    def available_tokens(self) -> float:
        """How many tokens are left; negative after `total_tokens` was lowered."""
        return self._total - len(self._borrowers)

    def acquire_nowait(self) -> None:
        """Borrow a token for the running task. WouldBlock if none is left."""
        self.acquire_on_behalf_of_nowait(asyncio.current_task())

    def acquire_on_behalf_of_nowait(self, borrower: object) -> None:
        """Borrow a token for any hashable object. RuntimeError if it has one."""
        if borrower in self._borrowers or borrower in self._waiting:
            raise RuntimeError("this borrower holds, or waits for, a token of this limiter already")
        if self._waiting or len(self._borrowers) >= self._total:
            raise WouldBlock
        self._borrowers.add(borrower)

    async def acquire(self) -> None:
        """Borrow a token for the running task, waiting for one."""
        await self.acquire_on_behalf_of(asyncio.current_task())

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Borrow a token for any hashable object, waiting for one. Cancelled, it has none."""
        await checkpoint_if_cancelled()
        try:
            self.acquire_on_behalf_of_nowait(borrower)
        except WouldBlock:
            pass
        else:
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting[borrower] = granted
        try:
            await granted
        except CancelledError:
            if granted.done() and not granted.cancelled():
                self.release_on_behalf_of(borrower)
            else:
                del self._waiting[borrower]
                self._wake()
            raise

    def release(self) -> None:
        """Give the running task's token back."""
        self.release_on_behalf_of(asyncio.current_task())

    def release_on_behalf_of(self, borrower: object) -> None:
        """Give a borrower's token back. RuntimeError if it has none."""
        try:
            self._borrowers.remove(borrower)
        except KeyError:
            raise RuntimeError("this borrower holds no token of this limiter") from None
        self._wake()

    def statistics(self) -> CapacityLimiterStatistics:
        """The limiter at this moment."""
        return CapacityLimiterStatistics(
            len(self._borrowers), self._total, tuple(self._borrowers), len(self._waiting)
        )

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return (
            f"<CapacityLimiter {len(self._borrowers)} of {self._total} tokens out, "
            f"{len(self._waiting)} waiting>"
        )

    def _wake(self) -> None:
        for borrower, granted in list(self._waiting.items()):
            if len(self._borrowers) >= self._total:
                return
            if not granted.done():  # cancelled: its task removes it
                del self._waiting[borrower]
                self._borrowers.add(borrower)
                granted.set_result(None)


def _checked(total_tokens: float) -> float:
    if not isinstance(total_tokens, int) and total_tokens != math.inf:
        raise TypeError("total_tokens must be a whole number or math.inf")
    if total_tokens < 1:
        raise ValueError("total_tokens must be at least 1")
    return total_tokens
