"""asyncio's primitives, compiled: the same names and semantics, on any asyncio loop.

What Python 3.13 improved holds on every version: `Queue.shutdown`, wakeups that a cancelled waiter
of a `Condition` or `Semaphore` passes on. Errors are asyncio's own classes. As in asyncio, a
primitive belongs to the loop that it first waited on, and to that loop's thread.
"""

from __future__ import annotations

from asyncio import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenBarrierError,
    QueueEmpty,
    QueueFull,
)

from pelton._core import (
    Barrier,
    BoundedSemaphore,
    Condition,
    Event,
    LifoQueue,
    Lock,
    PriorityQueue,
    Queue,
    QueueShutDown,
    Semaphore,
    TaskGroup,
    Timeout,
    as_completed,
    gather,
    shield,
    sleep,
    timeout,
    timeout_at,
    wait,
    wait_for,
)
from pelton._nursery.channel import open_memory_channel as channel
from pelton.aio._streams import (
    StreamReader,
    StreamReaderProtocol,
    StreamWriter,
    open_connection,
    open_unix_connection,
    start_server,
    start_unix_server,
)

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Condition",
    "Event",
    "LifoQueue",
    "Lock",
    "PriorityQueue",
    "Queue",
    "QueueEmpty",
    "QueueFull",
    "QueueShutDown",
    "Semaphore",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "TaskGroup",
    "Timeout",
    "as_completed",
    "channel",
    "gather",
    "open_connection",
    "open_unix_connection",
    "shield",
    "sleep",
    "start_server",
    "start_unix_server",
    "timeout",
    "timeout_at",
    "wait",
    "wait_for",
]
