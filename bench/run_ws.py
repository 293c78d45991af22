"""WebSockets with no framework: echo, and broadcast to 32 clients. Ours beside Granian and uvicorn
with `websockets`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import harness
from bench.web.servers import granian, pelton

APP = "bench.ws.app:app"
SOURCE = Path(__file__).parent / "ws/load.c"
CASES = {
    "broadcast to 32, 128 B": ("broadcast", 32, 128),
    "broadcast to 32, 4 KiB": ("broadcast", 32, 4096),
    "echo, 64 clients, 128 B": ("echo", 64, 128),
    "echo, 64 clients, 10 KiB": ("echo", 64, 10_240),
}


def uvicorn(app: str) -> Callable[[int], list[str]]:
    """Uvicorn with `websockets`, without the compression that nobody asks for here."""
    return lambda port: [
        *(sys.executable, "-m", "uvicorn", app, "--port", str(port), "--loop", "uvloop"),
        *("--ws", "websockets", "--log-level", "warning", "--no-access-log"),
    ]


PEERS = {"pelton": pelton(APP), "granian": granian(APP), "uvicorn": uvicorn(APP)}


def main() -> int:
    """Measure, print the table, write the JSON."""
    options = harness.parse(__doc__ or "", seconds=2.0, quick_seconds=0.3)
    results = harness.Results(
        "ws", "messages/s", options, harness.versions("granian", "uvicorn", "websockets")
    )
    with tempfile.TemporaryDirectory() as directory:
        load = Path(directory) / "load"
        command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(load), str(SOURCE)]
        subprocess.run(command, check=True)

        def run(case: str, peer: str) -> float:
            kind, connections, size = CASES[case]
            port = harness.free_port()
            with harness.server(PEERS[peer](port), port):
                arguments = [str(port), kind, str(connections), str(size), str(options.seconds)]
                timeout = options.seconds * 2 + 20
                said = harness.output_of([str(load), *arguments], role="load", timeout=timeout)
                return float(said)

        print(results.header(list(PEERS)))
        results.measure(list(CASES), list(PEERS), run)
    print(f"\nwritten to {results.write()}")
    return results.exit_status()


if __name__ == "__main__":
    sys.exit(main())
