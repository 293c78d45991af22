"""What a full broker costs: rates by the depth of the queue, memory of workers beside a million
delayed jobs, and how soon a job starts where there is little to do. Ours only, on each broker.

`python -m bench.run_growth --broker redis --depth 10k --depth 1M` fills a queue to each depth, and
measures enqueueing in bulk and running there. Every figure is of one repetition: run it on a quiet
machine, and again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench import harness
from tests.jobs.servers import SERVERS, running

CALLS = 300
"""Jobs, one after the other, by which the time to start is measured."""


def main() -> int:
    """Measure what was asked for, print it as it comes, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", action="append", choices=["sqlite", *SERVERS])
    parser.add_argument("--depth", action="append", type=number, help="such as 10k, 1M or 5M")
    parser.add_argument("--delayed", type=number, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement of running")
    parser.add_argument("--bulk", type=number, default=50_000, help="jobs enqueued at a depth")
    parser.add_argument("--quick", action="store_true", help="to see that it works")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.depth, options.delayed = [5_000, 20_000], 20_000
        options.seconds, options.bulk = 0.5, 5_000
    os.environ["BENCH_SECONDS"] = str(options.seconds)
    found: dict[str, dict[str, float]] = {}
    for broker in options.broker or ["sqlite", "redis", "postgresql"]:
        of_broker = found[broker] = {}
        for what, figure in figures(broker, options):
            of_broker[what] = figure
            print(f"{broker:<12}{what:<44}{figure:>12,.2f}", flush=True)
        for step in ("bulk", "run"):
            rates = [rate for what, rate in of_broker.items() if what.startswith(f"{step}, jobs/s")]
            if len(rates) > 1:
                loss = 100 * (1 - min(rates) / max(rates))
                print(f"{broker:<12}{step}: the slowest depth is {loss:.0f} % below the fastest")
    if options.output is not None:
        record = {"machine": harness.machine(), "version": harness.our_version(), "figures": found}
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def figures(broker: str, options: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """All figures of a broker, by what they are."""
    for depth in options.depth or [10_000, 1_000_000]:
        with place(broker):
            drive("fill", depth)
            yield f"bulk, jobs/s, {depth:,} deep", float(drive("bulk", options.bulk))
            with worker() as process:
                yield f"run, jobs/s, {depth:,} deep", float(drive("window", depth))
                yield f"worker's memory, MB, {depth:,} deep", memory(process)
    with place(broker):
        with worker() as process:
            drive("latency", CALLS)  # all is imported, and every page is there
            yield "worker's memory, MB, idle", memory(process)
            times = sorted(json.loads(drive("latency", CALLS)))
            yield "enqueue to start, ms, p50", 1000 * statistics.median(times)
            yield "enqueue to start, ms, p99", 1000 * times[len(times) * 99 // 100]
        if options.delayed:
            drive("delay", options.delayed)
            with worker() as process:
                drive("latency", CALLS)
                time.sleep(5.0)
                yield f"worker's memory, MB, {options.delayed:,} delayed", memory(process)


@contextlib.contextmanager
def place(broker: str) -> Iterator[None]:
    """An empty broker, named in the environment."""
    with contextlib.ExitStack() as stack:
        if broker == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pelton-bench-"))
            os.environ["BENCH_PELTON"] = f"sqlite:///{folder}/pelton.db"
        else:
            server = stack.enter_context(running(SERVERS[broker]))
            os.environ["BENCH_PELTON"] = server.url()
        yield


@contextlib.contextmanager
def worker() -> Iterator[psutil.Process]:
    """A worker of the benchmark's task."""
    process = subprocess.Popen(
        command("worker", 0),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        harness.stop(process)


def drive(step: str, count: int) -> str:
    """What a step of `bench.jobs.drive` prints."""
    return harness.output_of(command(step, count), role="", timeout=3600).strip()


def command(step: str, count: int) -> list[str]:
    """What runs a step."""
    return [sys.executable, "-m", "bench.jobs.drive", "pelton", step, str(count)]


def memory(process: psutil.Process) -> float:
    """Resident, in millions of bytes."""
    return float(process.memory_info().rss) / 1e6


def number(text: str) -> int:
    """`10k`, `1M`, or plain digits."""
    factors = {"k": 1000, "M": 1_000_000}
    digits, factor = (text[:-1], factors[text[-1]]) if text[-1:] in factors else (text, 1)
    return int(digits) * factor


if __name__ == "__main__":
    sys.exit(main())
