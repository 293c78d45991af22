"""What waiting costs: memory of idle connections, CPU of idle loops, timers beside a busy thread.

Smaller is better here. Linux only: the figures come from /proc.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import harness
from bench.idle.server import allow_descriptors
from bench.loops import NAMES

CONNECTIONS = 5000
# Connections before the first look, so that what a server makes once is not counted.
WARM_UP = 100
MESSAGE = bytes(1024)


def main() -> int:
    """Measure, print the table, write the JSON."""
    options = harness.parse(__doc__ or "", seconds=3.0, quick_seconds=0.5)
    allow_descriptors(CONNECTIONS + WARM_UP + 1000)
    results = harness.Results(
        "idle",
        "smaller is better",
        options,
        harness.versions("uvloop", "rloop"),
        smaller_is_better=True,
    )
    cases: dict[str, Callable[[str], float]] = {
        "bytes, protocol": lambda loop: memory(loop, "protocol"),
        "bytes, streams": lambda loop: memory(loop, "streams"),
        "us CPU/s, connections": lambda loop: idle_cpu(loop, "protocol", options.seconds),
        "us CPU/s, timers": lambda loop: idle_cpu(loop, "timers", options.seconds),
        "us late, busy thread, p99": lambda loop: lateness(loop, options.seconds),
    }
    print(results.header(NAMES))
    results.measure(list(cases), NAMES, lambda case, loop: cases[case](loop))
    print(f"\nwritten to {results.write()}")
    return results.exit_status()


@contextlib.contextmanager
def served(loop: str, kind: str) -> Iterator[tuple[int, int]]:
    """A server's process and port."""
    if not Path("/proc/self/statm").exists():
        raise harness.Absent("/proc is needed")
    port = harness.free_port()
    command = [sys.executable, "-m", "bench.idle.server", loop, kind, str(port)]
    with harness.server(command, port) as process:
        yield process.pid, port


@contextlib.contextmanager
def connected(port: int, count: int) -> Iterator[None]:
    """So many connections, each of which has got one echo."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port), 10)
            stack.enter_context(connection)
            connection.sendall(MESSAGE)
            left = len(MESSAGE)
            while left:
                got = len(connection.recv(left))
                if not got:
                    raise harness.Failed("the server closed a connection")
                left -= got
        yield


def memory(loop: str, kind: str) -> float:
    """Resident bytes per idle connection."""
    with served(loop, kind) as (pid, port), connected(port, WARM_UP):
        before = resident(pid)
        with connected(port, CONNECTIONS):
            return (resident(pid) - before) / CONNECTIONS


def resident(pid: int) -> int:
    """Resident memory, in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def idle_cpu(loop: str, kind: str, seconds: float) -> float:
    """Microseconds of processor time in a second in which nothing happens."""
    connections = CONNECTIONS if kind == "protocol" else 1
    with served(loop, kind) as (pid, port), connected(port, connections):
        time.sleep(0.2)  # what follows a connection
        before = processor_ns(pid)
        time.sleep(seconds)
        return (processor_ns(pid) - before) / 1000 / seconds


def processor_ns(pid: int) -> int:
    """Processor time that all threads of a process had, in nanoseconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def lateness(loop: str, seconds: float) -> float:
    """Microseconds by which the worst but one in a hundred timers was late."""
    command = [sys.executable, "-m", "bench.idle.lateness", loop, str(seconds)]
    return float(harness.output_of(command, role="server", timeout=60))


if __name__ == "__main__":
    sys.exit(main())
