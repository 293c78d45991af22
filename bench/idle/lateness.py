"""How late timers of 1 ms are while another thread computes: `... lateness LOOP SECONDS`.

Prints the 99th percentile in microseconds.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time

from bench.loops import loop_factory

DELAY = 0.001


def spin(stop: threading.Event) -> None:
    """Hold the GIL whenever it is given."""
    n = 0
    while not stop.is_set():
        n += 1


async def measure(seconds: float) -> float:
    """The 99th percentile, in seconds."""
    loop = asyncio.get_running_loop()
    late: list[float] = []
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:  # not the loop's: rloop's begins with the loop
        rung: asyncio.Future[float] = loop.create_future()
        loop.call_later(DELAY, lambda rung=rung: rung.set_result(time.monotonic()))
        late.append(await rung - now - DELAY)
    late.sort()
    return late[int(len(late) * 0.99)]


def main(loop: str, seconds: float) -> None:
    """Measure beside a busy thread."""
    stop = threading.Event()
    busy = threading.Thread(target=spin, args=(stop,))
    busy.start()
    try:
        with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
            print(runner.run(measure(seconds)) * 1e6)
    finally:
        stop.set()
        busy.join()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
