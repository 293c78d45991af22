"""The threads that run `def` tasks."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

_LOGGER = logging.getLogger("pelton.jobs")

ABANDONED_MAX = 100
"""Threads whose task was given up and goes on; above it, they are not replaced."""

Run = Callable[[], Any]
Then = Callable[[Any], None]


class ThreadWork:
    """A piece of work in the pool; `begun` once a thread has it."""

    __slots__ = ("_abandoned", "_begin", "_context", "_ended", "_run", "_then", "begun", "dropped")

    def __init__(
        self, run: Run, then: Then, begin: Then | None, context: contextvars.Context
    ) -> None:
        self._run = run
        self._then = then
        self._begin = begin
        self._context = context
        self._ended = False
        self._abandoned = False
        self.begun = False
        self.dropped = False


class ThreadPool:
    """Runs functions in up to `size` threads and hands results back to the loop in bursts.

    Unlike those of `concurrent.futures` its threads are daemons: one that a task holds for ever
    does not keep the process from ending. Work that is dropped while it runs cannot be stopped;
    its thread gets a replacement, and ends with it. `run` must not raise. The queue is bounded by
    what its owner leases.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, size: int) -> None:
        self._loop = loop
        self._size = size
        self._threads = 0  # without the abandoned ones
        self._abandoned = 0
        self._busy = 0  # pieces of work, queued and running, without the abandoned ones
        self._work: queue.SimpleQueue[ThreadWork | None] = queue.SimpleQueue()
        self._done: deque[tuple[ThreadWork, Any]] = deque()
        self._woken = False
        self._lock = threading.Lock()

    def submit(
        self, run: Run, then: Then, begin: Then | None, context: contextvars.Context
    ) -> ThreadWork:
        """Runs `run` in a thread and `then(result)` on the loop; `begin(work)` there before it."""
        work = ThreadWork(run, then, begin, context)
        self._busy += 1
        self._work.put(work)
        self._grow()
        return work

    def drop(self, work: ThreadWork) -> None:
        """Loses interest: if it has not begun it never will, and `then` is not called."""
        work.dropped = True
        with self._lock:
            if not work.begun or work._ended:
                return
            if self._abandoned >= ABANDONED_MAX:
                _LOGGER.error(
                    "%d threads run tasks that were given up: no more are replaced; look at "
                    "ctx.cancelled in `def` tasks, or make them cpu=True",
                    self._abandoned,
                )
                return
            work._abandoned = True
        self._abandoned += 1
        self._threads -= 1
        self._busy -= 1
        self._grow()

    def close(self) -> None:
        """Ends the threads that have nothing to do; the others end after their work."""
        for _ in range(self._threads):
            self._work.put(None)

    def _grow(self) -> None:
        if self._busy > self._threads and self._threads < self._size:
            self._threads += 1
            threading.Thread(target=self._serve, name="pelton-job", daemon=True).start()

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            result = None
            with self._lock:
                work.begun = not work.dropped
            if work.begun:
                if work._begin is not None:
                    self._call_loop(work._begin, work)
                result = work._context.run(work._run)
            with self._lock:
                work._ended = True
                self._done.append((work, result))
                woken, self._woken = self._woken, True
            if not woken:
                self._call_loop(self._deliver)
            if work._abandoned:
                return

    def _call_loop(self, callback: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            # The loop is closed: the worker has stopped and returned this job already.
            self._done.clear()

    def _deliver(self) -> None:
        with self._lock:
            self._woken = False
        while self._done:
            work, result = self._done.popleft()
            if work._abandoned:
                self._abandoned -= 1
            else:
                self._busy -= 1
            if not work.dropped:
                work._then(result)
