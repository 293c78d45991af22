"""Threads and limits around blocking code."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextlib import asynccontextmanager as asynccontextmanager
from typing import TypeVar
from weakref import WeakKeyDictionary

import anyio.to_thread
from anyio import CancelScope, CapacityLimiter, Semaphore
from anyio.lowlevel import RunVar, checkpoint_if_cancelled
from starlette.concurrency import iterate_in_threadpool as iterate_in_threadpool
from starlette.concurrency import run_in_threadpool as run_in_threadpool
from starlette.concurrency import run_until_first_complete as run_until_first_complete

_T = TypeVar("_T")


@asynccontextmanager
async def contextmanager_in_threadpool(
    manager: AbstractContextManager[_T],
) -> AsyncGenerator[_T, None]:
    """Enters and leaves a blocking context manager in threads.

    Leaving is shielded from cancellation and has a thread of its own: were it to wait for the
    shared pool, exits could starve behind the very requests that wait for what they release.
    """
    own_thread = CapacityLimiter(1)
    value = await run_in_threadpool(manager.__enter__)
    try:
        yield value
    except BaseException as error:
        with CancelScope(shield=True):
            handled = await anyio.to_thread.run_sync(
                manager.__exit__, type(error), error, error.__traceback__, limiter=own_thread
            )
        if not handled:
            raise
    else:
        with CancelScope(shield=True):
            await anyio.to_thread.run_sync(manager.__exit__, None, None, None, limiter=own_thread)


class ConcurrencyLimit:
    """At most `max_concurrency` uses of one dependency at a time, in each event loop."""

    def __init__(self, max_concurrency: int) -> None:
        self.max_concurrency = max_concurrency

    def semaphore(self) -> Semaphore:
        """The running loop's semaphore for this limit."""
        held = _semaphores.get(None)
        if held is None:
            held = WeakKeyDictionary()
            _semaphores.set(held)
        if (semaphore := held.get(self)) is None:
            semaphore = held[self] = Semaphore(self.max_concurrency)
        return semaphore


# Per event loop: a semaphore belongs to the loop that made it. Weak keys, so that a
# declaration that is gone takes its semaphore along.
_semaphores: RunVar[WeakKeyDictionary[ConcurrencyLimit, Semaphore]] = RunVar(
    "pelton_dependency_semaphores"
)


@asynccontextmanager
async def shielded_exit(
    manager: AbstractAsyncContextManager[_T], shield: CancelScope
) -> AsyncGenerator[_T, None]:
    """Leaves `manager` with `shield` up, so that a cancelled request still cleans up.

    `shield` was entered before any dependency, so scopes a dependency opens close before it.
    """
    before = shield.shield
    try:
        async with manager as value:
            try:
                yield value
            finally:
                shield.shield = True
    finally:
        shield.shield = before
    # Code under the shield may have swallowed the cancellation; deliver it now.
    await checkpoint_if_cancelled()


@asynccontextmanager
async def limited(
    manager: AbstractAsyncContextManager[_T], semaphore: Semaphore
) -> AsyncGenerator[_T, None]:
    """`manager`, entered only when `semaphore` has room and counted until it is left."""
    async with semaphore, manager as value:
        yield value
