"""Calls from tasks into worker processes."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

from pelton._nursery.checkpoint import checkpoint_if_cancelled
from pelton._nursery.delivery import current_scopes
from pelton._nursery.limiter import CapacityLimiter
from pelton._nursery.process_worker import Worker, give_back, take
from pelton._nursery.scope import CancelScope
from pelton._nursery.thread_call import run_in_thread, wait_blocked

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, CapacityLimiter] = WeakKeyDictionary()


def default_limiter() -> CapacityLimiter:
    """What bounds the processes of the running loop where no `limiter` is given: one a core."""
    loop = asyncio.get_running_loop()
    limiter = _limiters.get(loop)
    if limiter is None:
        limiter = _limiters[loop] = CapacityLimiter(os.cpu_count() or 1)
    return limiter


async def run_in_process(
    function: Callable[[*Ts], T],
    *args: *Ts,
    limiter: CapacityLimiter | None = None,
    cancellable: bool = False,
) -> T:
    """Run `function(*args)` in a worker process and return, or raise, what it does.

    All of it must pickle: a function by its name, so it must be at the top level of a module that
    the process can import. Processes start when needed (by spawn: some 100 ms) and are used again.
    `limiter` bounds how many run at once (the loop's default: the number of cores). Cancelled, this
    waits until the function has returned; with `cancellable` the process is killed at once.
    BrokenWorkerProcess if the process dies, or the result does not pickle.
    """
    await checkpoint_if_cancelled()
    request = pickle.dumps((function, args), pickle.HIGHEST_PROTOCOL)
    bound = default_limiter() if limiter is None else limiter
    borrower = object()
    await bound.acquire_on_behalf_of(borrower)
    try:
        if cancellable:
            returned, value = await _call(request)
        else:
            # In a task of its own, so that nothing that cancels this one reaches it.
            call = asyncio.get_running_loop().create_task(_call(request))
            returned, value = await wait_blocked(call, current_scopes())
    finally:
        bound.release_on_behalf_of(borrower)
    if not returned:
        raise value
    result: T = value
    return result


async def _call(request: bytes) -> tuple[bool, Any]:
    worker = take()
    while worker is None:
        with CancelScope(shield=True):
            await run_in_thread(_start)  # it takes milliseconds
        worker = take()
    try:
        outcome = await worker.call(request)
    except BaseException:
        worker.kill()
        raise
    give_back(worker)
    return outcome


def _start() -> None:
    # By way of the pool: if the caller was cancelled meanwhile, the next call finds it there.
    give_back(Worker())
