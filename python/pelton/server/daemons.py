"""Threads that no process waits for."""

from __future__ import annotations

import concurrent.futures
import queue
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["DaemonExecutor"]

_Call = tuple["concurrent.futures.Future[Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class DaemonExecutor(concurrent.futures.Executor):
    """Runs calls in up to `size` threads, made when they are needed.

    Python joins the threads of its own executor before a process ends, however long their calls
    take. These are daemons: a call that hangs does not keep a server from stopping.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._under_way = 0
        """Calls that wait or run."""
        self._closed = False

    def submit(
        self, call: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[Any]:
        """Runs `call` in one of the threads. Raises RuntimeError after `shutdown`."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the threads were shut down")
            if self._under_way >= self._threads and self._threads < self._size:
                name = f"{self._name}-{self._threads + 1}"
                # Where no thread can be started, this raises, and nothing was counted.
                threading.Thread(target=self._serve, name=name, daemon=True).start()
                self._threads += 1
            self._under_way += 1
            self._calls.put((future, call, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no further calls, and with `cancel_futures` none of those that wait. It waits for
        nothing, whatever `wait` says."""
        cancelled: list[concurrent.futures.Future[Any]] = []
        with self._lock:
            self._closed = True
            if cancel_futures:
                while (waiting := self._next_waiting()) is not None:
                    cancelled.append(waiting[0])
            for _ in range(self._threads):
                self._calls.put(None)
        # Callbacks of theirs may call us again.
        for future in cancelled:
            future.cancel()

    def _next_waiting(self) -> _Call | None:
        try:
            return self._calls.get_nowait()
        except queue.Empty:
            return None

    def _serve(self) -> None:
        while (waiting := self._calls.get()) is not None:
            future, call, args, kwargs = waiting
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(error)
            with self._lock:
                self._under_way -= 1
            # Kept until the next call, they would keep alive what the last one was about.
            del waiting, future, call, args, kwargs
