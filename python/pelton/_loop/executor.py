"""The default executor: a `ThreadPoolExecutor` whose queue and threads are driven by the core.

`loop.run_in_executor(None, ...)` goes to the core's pool directly; whoever finds the executor in
the loop and uses it as what it is gets the same threads.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from pelton import _core

_P = ParamSpec("_P")
_T = TypeVar("_T")

# What every thread runs, so that all can be told to end when the interpreter does.
_threads: weakref.WeakKeyDictionary[threading.Thread, _core.PoolThread]
_threads = weakref.WeakKeyDictionary()
_executors: weakref.WeakSet[DefaultExecutor] = weakref.WeakSet()


class _Item:
    """A call with its future, as `submit` gives it to a thread."""

    def __init__(self, future: concurrent.futures.Future[Any], call: Callable[[], Any]) -> None:
        self.future = future
        self.call = call

    def __call__(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.call()
        except BaseException as error:  # whatever it is, it belongs to who waits
            self.future.set_exception(error)
            del self  # the error's traceback would hold the future, and it the error
        else:
            self.future.set_result(result)


class DefaultExecutor(concurrent.futures.ThreadPoolExecutor):
    """What a loop uses for `run_in_executor(None, ...)` unless it was given another.

    Threads are started as they are needed, up to `ThreadPoolExecutor`'s own default number, are
    named `asyncio_0` and so on, and end with the executor; at the interpreter's end they are
    joined.
    """

    _threads: set[threading.Thread]
    _max_workers: int

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="asyncio")
        start = functools.partial(_start_thread, self._threads)
        self.pool = _core.ThreadPool(self._max_workers, start)
        _executors.add(self)

    def submit(
        self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> concurrent.futures.Future[_T]:
        """Have a thread call `fn`; RuntimeError after `shutdown`."""
        future: concurrent.futures.Future[_T] = concurrent.futures.Future()
        self.pool.submit(_Item(future, functools.partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; `wait`: until those under way and in the queue are done."""
        if cancel_futures:
            for item in self.pool.cancel_waiting():
                item.future.cancel()
        self.pool.shut_down()
        if wait:
            for thread in tuple(self._threads):
                thread.join()


def _start_thread(threads: set[threading.Thread], run: _core.PoolThread) -> None:
    # The set and not the executor: a thread must not keep its executor alive.
    thread = threading.Thread(target=run, name=f"asyncio_{len(threads)}")
    _threads[thread] = run
    thread.start()
    threads.add(thread)


def _end_all() -> None:
    running = list(_threads.items())
    for _, run in running:
        run.shut_down()
    for thread, _ in running:
        thread.join()


def _forget_threads() -> None:
    for executor in list(_executors):
        executor._threads.clear()
        executor.pool.forget_threads()
    _threads.clear()


# As concurrent.futures does: before the interpreter joins the threads that are no daemons.
_register_atexit: Callable[[Callable[[], None]], None] = vars(threading)["_register_atexit"]
_register_atexit(_end_all)
os.register_at_fork(after_in_child=_forget_threads)
