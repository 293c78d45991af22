"""TLS on 64 connections: keep-alive HTTP, and echo. Ours beside asyncio, uvloop and aiofastnet."""

from __future__ import annotations

import re
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
    """Measure, print the table, write the JSON."""
    options = harness.parse(__doc__ or "", seconds=2.0, quick_seconds=0.3)
    results = harness.Results(
        "tls", "round trips/s", options, harness.versions("uvloop", "aiofastnet")
    )
    with tempfile.TemporaryDirectory() as directory:
        load = Path(directory) / "load"
        command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(load), str(SOURCE)]
        subprocess.run([*command, "-lssl", "-lcrypto"], check=True)

        def run(case: str, peer: str) -> float:
            style = "http" if case == HTTP else case.split(", ")[1]
            port = harness.free_port()
            server = [sys.executable, "-m", "bench.tls.server", peer, style, str(port)]
            with harness.server(server, port):
                if case == HTTP:
                    return requests(port, options.seconds)
                return echoes(load, port, SIZES[case.split(", ")[0]], options.seconds)

        print(results.header(PEERS))
        results.measure(CASES, PEERS, run)
    print(f"\nwritten to {results.write()}")
    return results.exit_status()


def requests(port: int, seconds: float) -> float:
    """HTTP requests a second, as wrk counts them."""
    whole = max(1, round(seconds))  # wrk's durations are whole seconds
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{whole}", f"https://127.0.0.1:{port}/"]
    said = harness.output_of(command, role="load", timeout=whole + 20)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if "Non-2xx" in said or "Socket errors" in said or rate is None:
        raise harness.Failed(f"not every answer was a success: {said.strip().splitlines()[-3:]}")
    return float(rate[1])


def echoes(load: Path, port: int, size: int, seconds: float) -> float:
    """Round trips a second."""
    command = [str(load), str(port), str(CONNECTIONS), str(size), str(seconds)]
    return float(harness.output_of(command, role="load", timeout=seconds * 2 + 20))


if __name__ == "__main__":
    sys.exit(main())
