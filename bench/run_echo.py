"""Echo over TCP on 64 connections: ours beside asyncio, uvloop, rloop and a plain epoll server."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from bench import harness
from bench.echo.server import STYLES
from bench.loops import NAMES

CONNECTIONS = 64
SIZES = {"1 KiB": 1024, "64 KiB": 65536}
LIMIT = "C, epoll"
SOURCES = Path(__file__).parent / "echo"


def main() -> int:
    """Measure, print the table, write the JSON."""
    options = harness.parse(__doc__ or "", seconds=2.0, quick_seconds=0.3)
    results = harness.Results(
        "echo",
        "round trips/s",
        options,
        harness.versions("uvloop", "rloop"),
        limits=frozenset([LIMIT]),
    )
    costs = replace(
        results, name="echo-cpu", unit="CPU ns a round trip", rates={}, smaller_is_better=True
    )
    cases = [f"{size}, {style}" for size in SIZES for style in STYLES]
    peers = [*NAMES, LIMIT]
    with tempfile.TemporaryDirectory() as directory:
        programs = compile_programs(Path(directory))

        def run(case: str, peer: str) -> float:
            size, style = case.split(", ", 1)
            port = harness.free_port()
            with harness.server(server_command(programs, peer, style, port), port) as process:
                rate, cost = load(programs, port, SIZES[size], options.seconds, process.pid)
            costs.rates.setdefault(case, {}).setdefault(peer, []).append(cost)
            return rate

        print(results.header(peers))
        results.measure(cases, peers, run)
    costs.print_table(peers)
    print(f"\nwritten to {results.write()} and {costs.write()}")
    return results.exit_status()


def compile_programs(directory: Path) -> Path:
    """Compile the server and the load generator; the directory they are in."""
    for name in ("epoll_server", "load"):
        command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(directory / name)]
        subprocess.run([*command, str(SOURCES / f"{name}.c")], check=True)
    return directory


def server_command(programs: Path, peer: str, style: str, port: int) -> list[str]:
    """What starts a peer's server; the plain one has one style."""
    if peer == LIMIT:
        return [str(programs / "epoll_server"), str(port)]
    return [sys.executable, "-m", "bench.echo.server", peer, style, str(port)]


def load(programs: Path, port: int, size: int, seconds: float, server: int) -> tuple[float, float]:
    """Round trips a second, and the server's CPU time in nanoseconds for each."""
    command = [str(programs / "load"), str(port), str(CONNECTIONS), str(size), str(seconds)]
    said = harness.output_of([*command, str(server)], role="load", timeout=seconds * 2 + 20)
    rate, _, _, cost = map(float, said.split())
    return rate, cost


if __name__ == "__main__":
    sys.exit(main())
