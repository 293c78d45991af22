"""What a request waits, and what a server takes: the 99th percentile at half of a server's own
maximum, 64 connections; the memory of a worker after that; and the start of an app with 1 000
routes. Ours beside the peers.

A maximum is measured by wrk, just before; `latency/load.c` then asks at a constant rate, and each
wait counts from when its request was due. A faster server is asked more a second: each is as busy
as the others.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import harness
from bench.run_web import CONNECTIONS, wrk
from bench.web.servers import granian, pelton, robyn, uvicorn

SOURCE = Path(__file__).parent / "latency/load.c"
PART = 0.5
"""Of a server's maximum."""

Command = Callable[[int], list[str]]


@dataclass(frozen=True)
class Case:
    """One row: what is started for each peer, and what of it is measured."""

    measure: Callable[[Command, Path, float], float]
    servers: dict[str, Command]


_memory: dict[Command, list[float]] = {}


def p99(command: Command, load: Path, seconds: float) -> float:
    """Microseconds: 99 of 100 requests are answered within."""
    found, resident = loaded(command, load, seconds)
    _memory.setdefault(command, []).append(resident)
    return found


def memory(command: Command, load: Path, seconds: float) -> float:
    """KiB of the worker, after the load: of the runs that gave the times, where there were any."""
    known = _memory.get(command)
    return known.pop() if known else loaded(command, load, seconds)[1]


def loaded(command: Command, load: Path, seconds: float) -> tuple[float, float]:
    """Both of one run."""
    port = harness.free_port()
    with harness.server(command(port), port) as process:
        maximum = wrk(f"http://127.0.0.1:{port}/hello", [], 1)
        arguments = [str(port), "/hello", str(CONNECTIONS), f"{maximum * PART:.0f}", f"{seconds}"]
        said = harness.output_of([str(load), *arguments], role="load", timeout=seconds + 30)
        _, found, *_ = map(float, said.split())
        return found, float(resident(process.pid))


def resident(pid: int) -> int:
    """KiB of the largest among a process and its children: of several, it is the worker."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    [own] = [int(line.split()[1]) for line in status if line.startswith("VmRSS:")]
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return max([own, *map(resident, children)])


def start(command: Command, load: Path, seconds: float) -> float:
    """Milliseconds from the start of the process to its first answer."""
    port = harness.free_port()
    before = time.perf_counter()
    with (
        harness.server(command(port), port),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/hello", timeout=30) as response,
    ):
        response.read()
        return (time.perf_counter() - before) * 1000


BARE = {
    "pelton": pelton("bench.web.raw_app:app"),
    "granian": granian("bench.web.raw_app:app"),
    "uvicorn": uvicorn("bench.web.raw_app:app"),
}
FRAMEWORKS = {
    "pelton": pelton("bench.web.pelton_app:app"),
    "fastapi+uvicorn": uvicorn("bench.web.fastapi_app:app"),
    "fastapi+granian": granian("bench.web.fastapi_app:app"),
    "blacksheep": granian("bench.web.blacksheep_app:app"),
    "robyn": robyn,
    "litestar": uvicorn("bench.web.litestar_app:app"),
}
MANY = {
    "pelton": pelton("bench.web.many:pelton_app"),
    "fastapi+uvicorn": uvicorn("bench.web.many:fastapi_app"),
    "fastapi+granian": granian("bench.web.many:fastapi_app"),
}
CASES = {
    "bare ASGI, p99, us": Case(p99, BARE),
    "GET /hello, p99, us": Case(p99, FRAMEWORKS),
    "bare ASGI, memory, KiB": Case(memory, BARE),
    "GET /hello, memory, KiB": Case(memory, FRAMEWORKS),
    "1 000 routes, start, ms": Case(start, MANY),
}
PEERS = ["pelton", "granian", "uvicorn", *list(FRAMEWORKS)[1:]]


def main() -> int:
    """Measure, print the table, write the JSON."""
    options = harness.parse(__doc__ or "", seconds=3.0, quick_seconds=0.5)
    results = harness.Results(
        "latency",
        "cost",
        options,
        harness.versions("granian", "uvicorn", "fastapi", "blacksheep", "robyn", "litestar"),
        smaller_is_better=True,
    )
    with tempfile.TemporaryDirectory() as directory:
        load = Path(directory) / "load"
        command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(load), str(SOURCE)]
        subprocess.run(command, check=True)

        def run(name: str, peer: str) -> float:
            case = CASES[name]
            if peer not in case.servers:
                raise harness.Absent("not part of this row")
            return case.measure(case.servers[peer], load, options.seconds)

        print(results.header(PEERS))
        results.measure(list(CASES), PEERS, run)
    print(f"\nwritten to {results.write()}")
    return results.exit_status()


if __name__ == "__main__":
    sys.exit(main())
