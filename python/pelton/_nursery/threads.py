"""Worker threads: made when needed, kept for a while, given to one call at a time."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

# A thread that has had nothing to do for so long ends.
IDLE_MAX_S = 10.0

_idle: deque[_Worker] = deque()
_lock = threading.Lock()
_numbers = count(1)

Job = Callable[[], None]
Done = Callable[[Any, BaseException | None], None]


class _Worker:
    """One thread. It is in `_idle` while it waits for a job."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        # A daemon: a call that was abandoned must not keep the process alive.
        name = f"pelton-worker-{next(_numbers)}"
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                job = self.jobs.get(timeout=IDLE_MAX_S)
            except queue.Empty:
                with _lock:
                    if self not in _idle:
                        continue  # a job is on its way
                    _idle.remove(self)
                return
            job()
            del job


def run_in_worker(call: Callable[[], Any], done: Done) -> None:
    """Run `call` in a worker thread, in a copy of the current context, then `done` there.

    `done` gets the result, or None and what was raised. It must not raise.
    """
    context = contextvars.copy_context()

    def job() -> None:
        result, error = None, None
        try:
            result = context.run(call)
        except BaseException as raised:  # handed on, whatever it is
            error = raised
        with _lock:  # before `done`, which may lead to the next call at once
            _idle.append(worker)
        done(result, error)

    with _lock:
        idle = _idle.pop() if _idle else None
    worker = idle or _Worker()
    worker.jobs.put(job)
