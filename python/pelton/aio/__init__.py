"""asyncio's primitives, compiled: the same names and semantics, on any asyncio loop.

What Python 3.13 improved holds on every version: `Queue.shutdown`, wakeups that a cancelled waiter
of a `Condition` or `Semaphore` passes on. Errors are asyncio's own classes. As in asyncio, a
primitive belongs to the loop that it first waited on, and to that loop's thread.
"""

from __future__ import annotations

from asyncio import BrokenBarrierError, QueueEmpty, QueueFull

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
    sleep,
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
    "channel",
    "open_connection",
    "open_unix_connection",
    "sleep",
    "start_server",
    "start_unix_server",
]
