"""Echo over TCP on 64 connections: ours beside asyncio, uvloop, rloop and a plain epoll server."""

from __future__ import annotations

import subprocess
import sys
import tempfile
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
    cases = [f"{size}, {style}" for size in SIZES for style in STYLES]
    peers = [*NAMES, LIMIT]
    with tempfile.TemporaryDirectory() as directory:
        programs = compile_programs(Path(directory))

        def run(case: str, peer: str) -> float:
            size, style = case.split(", ", 1)
            port = harness.free_port()
            with harness.server(server_command(programs, peer, style, port), port):
                return load(programs, port, SIZES[size], options.seconds)

        print(results.header(peers))
        results.measure(cases, peers, run)
    print(f"\nwritten to {results.write()}")
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


def load(programs: Path, port: int, size: int, seconds: float) -> float:
    """Round trips a second."""
    command = [str(programs / "load"), str(port), str(CONNECTIONS), str(size), str(seconds)]
    return float(harness.output_of(command, role="load", timeout=seconds * 2 + 20).split()[0])


if __name__ == "__main__":
    sys.exit(main())
