"""Jobs that do nothing, with results: ours on SQLite, Redis, PostgreSQL and RabbitMQ beside Celery,
Dramatiq, ARQ, taskiq, streaq and saq on the same Redis, and taskito on SQLite. Enqueued one at a
time, from many coroutines and in bulk, and run; the cores are shared by the worker and the broker,
as in a small production.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import harness
from tests.jobs.servers import Postgres, Rabbit, running

# How many jobs a repetition runs and enqueues, so that each takes about two seconds.
COUNTS = {
    "pelton": (20_000, 100_000),
    "pelton-redis": (40_000, 200_000),
    "pelton-postgresql": (15_000, 60_000),
    # With a SQLite file as its store.
    "pelton-rabbitmq": (15_000, 40_000),
    "taskito": (400, 20_000),
    "celery": (2_000, 3_000),
    "dramatiq": (6_000, 10_000),
    "arq": (2_000, 4_000),
    "taskiq": (3_000, 5_000),
    "streaq": (6_000, 30_000),
    "saq": (3_000, 5_000),
}
# Those of ours that have a server of their own.
SERVERS = {"pelton-postgresql": Postgres, "pelton-rabbitmq": Rabbit}
# What needs no Redis.
WITHOUT_REDIS = {"pelton", "taskito", *SERVERS}
# Peers whose requirements contradict the others' have an environment of their own.
_OLDER = str(Path(__file__).parent / ".venv-arq/bin/python")
INTERPRETERS = {"arq": _OLDER, "saq": _OLDER}
# One at a time is slower than in bulk.
SINGLY = 10_000
CASES = (
    "enqueue, one at a time",
    "enqueue, 100 coroutines",
    "enqueue, in bulk",
    "run, with results",
)
STEPS = ("enqueue", "concurrent", "bulk")


def main() -> int:
    """Measure, print the table, write the JSON."""
    options = harness.parse(__doc__ or "", seconds=2.0, quick_seconds=0.1)
    versions = harness.versions("taskito", "celery", "dramatiq", "taskiq", "streaq")
    for peer in harness.chosen(list(INTERPRETERS), options.peers):
        versions[peer] = version_in(INTERPRETERS[peer], peer)
    results = harness.Results("jobs", "jobs/s", options, versions)
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        port = None
        if set(harness.chosen(list(COUNTS), options.peers)) - WITHOUT_REDIS:
            port = stack.enter_context(redis(Path(scratch)))
            versions["redis-server"] = server_version()
        servers = {
            peer: stack.enter_context(running(SERVERS[peer]))
            for peer in harness.chosen(list(COUNTS), options.peers)
            if peer in SERVERS
        }

        def run(case: str, peer: str) -> float:
            run_count, enqueue_count = (
                max(100, round(count * options.seconds / 2)) for count in COUNTS[peer]
            )
            with fresh(Path(scratch), port):
                os.environ.pop("BENCH_PELTON", None)
                if peer == "pelton-redis":
                    os.environ["BENCH_PELTON"] = os.environ["BENCH_REDIS"]
                elif peer in servers:
                    os.environ["BENCH_PELTON"] = servers[peer].url()
                if case == CASES[-1]:
                    return run_all(peer, run_count)
                step = STEPS[CASES.index(case)]
                return drive(
                    peer, step, min(enqueue_count, SINGLY) if step == "enqueue" else enqueue_count
                )

        print(results.header(list(COUNTS)))
        results.measure(CASES, list(COUNTS), run)
    print(f"\nwritten to {results.write()}")
    return results.exit_status()


def run_all(peer: str, count: int) -> float:
    """Jobs a second of a worker that finds its queue full."""
    drive(peer, "fill", count)
    worker = subprocess.Popen(
        command(peer, "worker", count),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return drive(peer, "watch", count)
    finally:
        harness.stop(worker)


def drive(peer: str, step: str, count: int) -> float:
    """The rate that a step prints; 0 for a step that prints none."""
    said = harness.output_of(command(peer, step, count), role="", timeout=120)
    if said.strip() == "none":
        raise harness.Absent("has no such enqueue")
    return float(said or 0)


def command(peer: str, step: str, count: int) -> list[str]:
    """What runs a step."""
    python = INTERPRETERS.get(peer, sys.executable)
    return [python, "-m", "bench.jobs.drive", peer, step, str(count)]


@contextlib.contextmanager
def redis(directory: Path) -> Iterator[int]:
    """A Redis server of our own that keeps nothing on disk; its port."""
    port = harness.free_port()
    arguments = ["--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(directory)]
    with harness.server(["redis-server", *arguments], port, pinned=False):
        yield port


@contextlib.contextmanager
def fresh(scratch: Path, port: int | None) -> Iterator[None]:
    """An empty Redis, where there is one, and an empty directory, named in the environment."""
    if port is not None:
        subprocess.run(["redis-cli", "-p", str(port), "flushall"], check=True, capture_output=True)
        os.environ["BENCH_REDIS"] = f"redis://127.0.0.1:{port}/0"
    with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as directory:
        os.environ["BENCH_DIRECTORY"] = directory
        yield


def version_in(python: str, package: str) -> str:
    """Of a package in another environment."""
    program = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    return harness.output_of([python, "-c", program], role="", timeout=30).strip()


def server_version() -> str:
    """Of the Redis server."""
    said = subprocess.run(["redis-server", "--version"], check=True, capture_output=True, text=True)
    return next(word[2:] for word in said.stdout.split() if word.startswith("v="))


if __name__ == "__main__":
    sys.exit(main())
