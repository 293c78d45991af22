"""One step of the benchmark on one peer: `python -m bench.jobs.drive PEER STEP COUNT`.

`enqueue`, `concurrent` and `bulk` print jobs a second; `fill` enqueues for a run; `watch` prints
how many jobs a second a worker ends, from the first to the last; `worker` becomes the worker. For
`bench.run_growth`, on Pelton: `window` prints how many jobs a second end within some seconds, and
there are `latency` and `delay`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module

from bench.jobs.queue import JobQueue

# Between two looks at how many are left: they cost the broker something too.
LOOK_SECONDS = 0.02
FIRST_SECONDS_MAX = 30.0
STUCK_SECONDS = 20.0


def main() -> int:
    """Do the step."""
    peer, step, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    # What follows a hyphen says where it keeps its jobs.
    queue: JobQueue = import_module(f"bench.jobs.{peer.split('-')[0]}_jobs").Queue()
    if step == "worker":
        command = queue.worker()
        os.execv(command[0], command)
    elif step == "enqueue":
        print(count / queue.enqueue(count))
    elif step in ("bulk", "concurrent"):
        many = queue.enqueue_many if step == "bulk" else queue.enqueue_concurrently
        seconds = many(count)
        print("none" if seconds is None else count / seconds)
    elif step in ("window", "latency", "delay"):
        print(ours(step, count))
    elif step == "fill":
        if queue.enqueue_many(count) is None:
            queue.enqueue(count)
    else:
        print(watch(queue, count))
    return 0


def ours(step: str, count: int) -> str:
    """What only Pelton is asked for: see `bench.run_growth`."""
    from bench.jobs.pelton_jobs import Queue

    queue = Queue()
    if step == "window":
        return str(window(queue, count, float(os.environ["BENCH_SECONDS"])))
    if step == "delay":
        queue.delay(count)
        return ""
    return json.dumps(queue.latency(count))


def watch(queue: JobQueue, count: int) -> float:
    """Jobs a second, from the first look that finds some done to the one that finds none left."""
    left = wait_for_first(queue, count)
    started = changed = time.perf_counter()
    first = left
    while left > 0:
        time.sleep(LOOK_SECONDS)
        before, left = left, queue.left()
        now = time.perf_counter()
        if left != before:
            changed = now
        elif now - changed > STUCK_SECONDS:
            raise SystemExit(f"stuck with {left} of {count} jobs left")
    elapsed = time.perf_counter() - started
    if not first:
        raise SystemExit(f"all {count} jobs were done at the first look: too few to measure")
    return first / elapsed


def window(queue: JobQueue, depth: int, seconds: float) -> float:
    """Jobs a second that end, from the first look that finds some done, for so long at most."""
    first = left = wait_for_first(queue, depth)
    started = now = time.perf_counter()
    while left > 0 and now - started < seconds:
        time.sleep(LOOK_SECONDS)
        left, now = queue.left(), time.perf_counter()
    if left == first:
        raise SystemExit(f"{depth} jobs are too few to measure")
    return (first - left) / (now - started)


def wait_for_first(queue: JobQueue, count: int) -> int:
    """How many are left when the worker has begun."""
    deadline = time.perf_counter() + FIRST_SECONDS_MAX
    while (left := queue.left()) >= count:
        if time.perf_counter() > deadline:
            raise SystemExit(f"no job was done within {FIRST_SECONDS_MAX:g} s")
        time.sleep(LOOK_SECONDS)
    return left


if __name__ == "__main__":
    sys.exit(main())
