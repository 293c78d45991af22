"""One measure of one loop: `python -m bench.loop.measures LOOP CASE SECONDS` prints its rate.

On pelton's loop, `sleep`, `Queue` and the like come from pelton.aio, elsewhere from asyncio.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.loops import loop_factory

GATHERED = 100
BULK = 1000

# What a program on the measured loop would use; `main` chooses.
aio: Any = asyncio

# How many operations a measure does; the rate counts these.
Measure = Callable[[int], Awaitable[None]]


async def call_soon(count: int) -> None:
    """A callback that schedules the next: each is a turn of the loop."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = count

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            done.set_result(None)

    loop.call_soon(step)
    await done


async def call_soon_bulk(count: int) -> None:
    """A thousand callbacks with an argument a turn."""
    loop = asyncio.get_running_loop()

    def nothing(_: int) -> None:
        pass

    for _ in range(count // BULK):
        for number in range(BULK):
            loop.call_soon(nothing, number)
        await aio.sleep(0)


async def sleep_0(count: int) -> None:
    """A task that gives way, with nobody else there."""
    sleep = aio.sleep
    for _ in range(count):
        await sleep(0)


async def create_task(count: int) -> None:
    """A task made and awaited."""

    async def nothing() -> None:
        pass

    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.create_task(nothing())


async def gather(count: int) -> None:
    """A hundred coroutines gathered; the rate counts coroutines."""

    async def nothing() -> None:
        pass

    for _ in range(count // GATHERED):
        await aio.gather(*[nothing() for _ in range(GATHERED)])


async def call_later(count: int) -> None:
    """A timer set and cancelled, as a timeout that is not needed; a turn every hundred."""
    loop = asyncio.get_running_loop()

    def never() -> None:
        raise AssertionError("cancelled timers do not fire")

    for number in range(count):
        loop.call_later(60, never).cancel()
        if number % 100 == 0:
            await aio.sleep(0)


async def queue(count: int) -> None:
    """A queue: a put and a get."""
    channel: asyncio.Queue[int] = aio.Queue()
    for number in range(count):
        await channel.put(number)
        await channel.get()


async def timeout(count: int) -> None:
    """`timeout` around a turn."""
    for _ in range(count):
        async with aio.timeout(60):
            await aio.sleep(0)


async def wait_for(count: int) -> None:
    """`wait_for` around a turn."""
    for _ in range(count):
        await aio.wait_for(aio.sleep(0), 60)


async def run_in_executor(count: int) -> None:
    """A call in the default thread pool, one at a time."""
    loop = asyncio.get_running_loop()

    def nothing() -> None:
        pass

    for _ in range(count):
        await loop.run_in_executor(None, nothing)


async def call_soon_threadsafe(count: int) -> None:
    """Callbacks from another thread, as fast as it can."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = count

    def step() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    def send() -> None:
        for _ in range(count):
            loop.call_soon_threadsafe(step)

    thread = threading.Thread(target=send)
    thread.start()
    await done
    thread.join()


MEASURES: dict[str, Measure] = {
    "call_soon": call_soon,
    "call_soon, bulk": call_soon_bulk,
    "sleep(0)": sleep_0,
    "create_task + await": create_task,
    "gather of 100": gather,
    "call_later + cancel": call_later,
    "Queue put + get": queue,
    "asyncio.timeout": timeout,
    "wait_for": wait_for,
    "run_in_executor": run_in_executor,
    "call_soon_threadsafe": call_soon_threadsafe,
}


async def rate(measure: Measure, seconds: float) -> float:
    """Operations a second, from a run of about this many seconds."""
    count, elapsed = BULK, 0.0
    # A short run says how long a whole one must be; it warms up as well.
    while elapsed < seconds / 10:
        started = time.perf_counter()
        await measure(count)
        elapsed = time.perf_counter() - started
        count *= 2
    count = max(BULK, int(count / 2 / elapsed * seconds) // BULK * BULK)
    started = time.perf_counter()
    await measure(count)
    return count / (time.perf_counter() - started)


def primitives_of(loop: str) -> Any:
    """pelton.aio on pelton's loop, asyncio anywhere else."""
    if loop != "pelton":
        return asyncio
    from pelton import aio as ours

    return ours


def main() -> None:
    """Print the rate."""
    global aio
    loop, case, seconds = sys.argv[1:]
    aio = primitives_of(loop)
    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        print(runner.run(rate(MEASURES[case], float(seconds))))


if __name__ == "__main__":
    main()
