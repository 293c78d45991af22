"""Threads for the blocking endpoints and dependencies of requests that our server brings.

What `anyio.to_thread` does, with less for each call: threads take the next job themselves, and
the results of one turn wake the loop once. `anyio.from_thread` works in them, and there are at
most as many as AnyIO's default limiter has tokens (40, if the app does not change it).
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import anyio.to_thread
from anyio._backends._asyncio import AsyncIOBackend
from anyio._core._eventloop import claim_worker_thread, set_current_async_library, threadlocals

_Job = tuple[Context, Callable[[], Any], "asyncio.Future[Any]"]


def run_in_pool(call: Callable[[], Any]) -> asyncio.Future[Any]:
    """A future of what `call` returns in a thread, with a copy of the current context.

    Cancelling the future abandons a call that has begun, and drops one that has not.
    """
    loop = asyncio.get_running_loop()
    pool = _pools.get(loop)
    if pool is None:
        pool = _pools[loop] = _Pool()
    return pool.submit(loop, call)


# How soon the threads of a closed loop notice, in seconds.
_PATIENCE = 10.0


class _Pool:
    """The threads of one loop. All but `jobs` and `results` is touched in the loop's thread."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[_Job] = SimpleQueue()
        self.results: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self.is_waking = False
        self._threads = 0
        self._unfinished = 0

    def submit(
        self, loop: asyncio.AbstractEventLoop, call: Callable[[], Any]
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = loop.create_future()
        context = copy_context()
        context.run(set_current_async_library, None)
        self._unfinished += 1
        self.jobs.put((context, call, future))
        if self._threads < self._unfinished and self._threads < _limit():
            # Daemons: a blocking call that never returns must not keep the process.
            name = f"pelton worker {self._threads}"
            self._threads += 1
            Thread(target=_work, args=(self, loop), name=name, daemon=True).start()
        return future

    def deliver(self) -> None:
        """Gives results to their futures; runs in the loop's thread."""
        # First of all: a result that comes from now on wakes the loop again.
        self.is_waking = False
        results = self.results
        while results:
            future, value, error = results.popleft()
            self._unfinished -= 1
            if future.cancelled():
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)


def _limit() -> float:
    return anyio.to_thread.current_default_thread_limiter().total_tokens


def _work(pool: _Pool, loop: asyncio.AbstractEventLoop) -> None:
    """Runs jobs until the loop is closed."""
    jobs, results = pool.jobs, pool.results
    with claim_worker_thread(AsyncIOBackend, loop):
        # No cancel scope of AnyIO's is around our requests.
        threadlocals.current_cancel_scope = None
        while not loop.is_closed():
            try:
                job = jobs.get(timeout=_PATIENCE)
            except Empty:
                continue
            context, call, future = job
            value, error = None, None
            if not future.cancelled():
                value, error = _outcome(context, call)
            results.append((future, value, error))
            # Nothing of a request may wait here for the next one.
            del job, context, call, future, value, error
            if not pool.is_waking:
                pool.is_waking = True
                try:
                    loop.call_soon_threadsafe(pool.deliver)
                except RuntimeError:
                    # It was closed in between.
                    return


def _outcome(context: Context, call: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return context.run(call), None
    except StopIteration as stop:
        # A future cannot carry it.
        error = RuntimeError("coroutine raised StopIteration")
        error.__cause__ = stop
        return None, error
    except BaseException as error:
        return None, error


_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = weakref.WeakKeyDictionary()
