"""TLS on 64 connections: keep-alive HTTP, and echo. Ours beside asyncio, uvloop and aiofastnet.

Round trips a second, and the server's CPU time for one of them: where the load is as busy as the
server, only that tells them apart.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from bench import harness
from bench.tls.server import OVER

CONNECTIONS = 64
PEERS = ["pelton", "asyncio", "uvloop", *OVER]
SIZES = {"1 KiB": 1024, "64 KiB": 65536}
HTTP = "HTTP keep-alive"
STYLES = ("protocol", "buffered", "streams")
CASES = [HTTP, *(f"{size}, {style}" for size in SIZES for style in STYLES)]
SOURCE = Path(__file__).parent / "tls" / "load.c"


def main() -> int:
    """Measure, print the tables, write the JSON."""
    options = harness.parse(__doc__ or "", seconds=2.0, quick_seconds=0.3)
    versions = harness.versions("uvloop", "aiofastnet")
    rates = harness.Results("tls", "round trips/s", options, versions)
    costs = harness.Results("tls-cpu", "CPU ns a round trip", options, versions)
    costs.smaller_is_better = True
    with tempfile.TemporaryDirectory() as directory:
        load = Path(directory) / "load"
        command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(load), str(SOURCE)]
        subprocess.run([*command, "-lssl", "-lcrypto"], check=True)

        def run(case: str, peer: str) -> float:
            rate, cost = measure(load, case, peer, options.seconds)
            costs.rates.setdefault(case, {}).setdefault(peer, []).append(cost)
            return rate

        print(rates.header(PEERS))
        rates.measure(CASES, PEERS, run)
    costs.print_table(PEERS)
    print(f"\nwritten to {rates.write()} and {costs.write()}")
    return rates.exit_status()


def measure(load: Path, case: str, peer: str, seconds: float) -> tuple[float, float]:
    """Round trips a second, and the server's CPU time in nanoseconds for each."""
    size, _, style = case.partition(", ")
    what = "http" if case == HTTP else str(SIZES[size])
    port = harness.free_port()
    server = [sys.executable, "-m", "bench.tls.server", peer, style or "http", str(port)]
    with harness.server(server, port) as process:
        command = [str(load), str(port), str(CONNECTIONS), what, str(seconds), str(process.pid)]
        said = harness.output_of(command, role="load", timeout=seconds * 4 + 60)
    rate, cost = said.split()
    return float(rate), float(cost)


if __name__ == "__main__":
    sys.exit(main())
