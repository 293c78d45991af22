"""The threads that run `def` tasks."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

Run = Callable[[], Any]
Then = Callable[[Any], None]


class ThreadWork:
    """A piece of work in the pool; `begun` once a thread has it."""

    __slots__ = ("_begin", "_context", "_run", "_then", "begun", "dropped")

    def __init__(
        self, run: Run, then: Then, begin: Then | None, context: contextvars.Context
    ) -> None:
        self._run = run
        self._then = then
        self._begin = begin
        self._context = context
        self.begun = False
        self.dropped = False

    def drop(self) -> None:
        """Loses interest: if it has not begun it never will, and `then` is not called."""
        self.dropped = True


class ThreadPool:
    """Runs functions in up to `size` threads and hands results back to the loop in bursts.

    Unlike `concurrent.futures` its threads are daemons: one that a task holds for ever does not
    keep the process from ending. `run` must not raise. The queue is bounded by what its owner
    leases.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, size: int) -> None:
        self._loop = loop
        self._size = size
        self._threads = 0
        self._busy = 0  # queued and running
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
        if self._busy > self._threads and self._threads < self._size:
            self._threads += 1
            name = f"pelton-job-{self._threads}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        self._work.put(work)
        return work

    def close(self) -> None:
        """Ends the threads that have nothing to do; the others end after their work."""
        for _ in range(self._threads):
            self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            result = None
            if not work.dropped:
                work.begun = True
                if work._begin is not None:
                    self._call_loop(work._begin, work)
                result = work._context.run(work._run)
            self._done.append((work, result))
            with self._lock:
                if self._woken:
                    continue
                self._woken = True
            self._call_loop(self._deliver)

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
            self._busy -= 1
            if not work.dropped:
                work._then(result)
