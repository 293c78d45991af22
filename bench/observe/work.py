"""A fixed amount of work for the loop: `python -m bench.observe.work CASE SHARE`.

Prints the CPU time of the process, all of its threads, for one operation, in nanoseconds. SHARE of
the usual number of operations is done.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import pelton
from bench.loop import measures

MESSAGE = bytes(1024)


@dataclass(frozen=True)
class Work:
    """What is done, and how often: a third of a second of it, about."""

    run: Callable[[int], Awaitable[None]]
    count: int


async def timers(count: int) -> None:
    """Timers that are due at once."""
    for _ in range(count):
        await asyncio.sleep(1e-9)


class Pong(asyncio.Protocol):
    """Sends back what comes, so many times."""

    def __init__(self, left: int, done: asyncio.Future[None]) -> None:
        self.left, self.done = left, done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """One way of a round trip."""
        self.left -= 1
        if self.left > 0:
            self.transport.write(data)
        elif not self.done.done():
            self.done.set_result(None)


async def echo(count: int) -> None:
    """A kilobyte there and back, both ends on this loop: a turn with a poll for each way."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    transports = []
    for end in socket.socketpair():
        end.setblocking(False)
        transport, _ = await loop.create_connection(lambda: Pong(count, done), sock=end)
        transports.append(transport)
    transports[0].write(MESSAGE)
    await done
    for transport in transports:
        transport.close()


WORKS = {
    "call_soon": Work(measures.call_soon, 1_000_000),
    "call_soon, bulk": Work(measures.call_soon_bulk, 1_500_000),
    "sleep(0)": Work(measures.sleep_0, 400_000),
    "create_task + await": Work(measures.create_task, 150_000),
    "timers": Work(timers, 150_000),
    "1 KiB echo": Work(echo, 40_000),
}


async def main(work: Work, share: float) -> float:
    """Nanoseconds an operation."""
    count = max(1000, int(work.count * share))
    await work.run(1000)  # what is made once
    before = time.process_time_ns()
    await work.run(count)
    return (time.process_time_ns() - before) / count


if __name__ == "__main__":
    print(pelton.run(main(WORKS[sys.argv[1]], float(sys.argv[2]))))
