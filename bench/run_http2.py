"""HTTP/2 by h2load: one connection with 64 streams, and 8 with 8. Ours beside Granian, and
our own HTTP/1.1 on 64 connections for comparison.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from bench import harness
from bench.web.servers import pelton

ASGI, PLAN = "bare ASGI", "GET /hello"
LOADS = {"1 x 64": (1, 64), "8 x 8": (8, 8)}
CASES = [f"{what}, {load}" for what in (ASGI, PLAN) for load in LOADS]
APPS = {ASGI: "bench.web.raw_app:app", PLAN: "bench.web.pelton_app:app"}
PLAIN = "pelton HTTP/1.1"


def granian(app: str) -> Callable[[int], list[str]]:
    """Granian with HTTP/2 only."""
    return lambda port: [
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--host", "127.0.0.1"),
        *("--port", str(port), "--workers", "1", "--loop", "uvloop", "--http", "2"),
        *("--log-level", "warning", app),
    ]


PEERS = {"pelton": pelton, PLAIN: pelton, "granian": granian}


def main() -> int:
    """Measure, print the table, write the JSON."""
    options = harness.parse(__doc__ or "", seconds=3.0, quick_seconds=1.0)
    results = harness.Results(
        "http2",
        "requests/s",
        options,
        harness.versions("granian"),
        limits=frozenset([PLAIN]),
    )

    def run(case: str, peer: str) -> float:
        what, load = case.split(", ")
        # A plan is ours alone: what others make of the same app is measured by `run_web`.
        if what == PLAN and peer not in ("pelton", PLAIN):
            raise harness.Absent("not a server with plans")
        port = harness.free_port()
        with harness.server(PEERS[peer](APPS[what])(port), port):
            connections, streams = (64, 1) if peer == PLAIN else LOADS[load]
            return requests(port, connections, streams, options.seconds, plain=peer == PLAIN)

    print(results.header(list(PEERS)))
    results.measure(CASES, list(PEERS), run)
    print(f"\nwritten to {results.write()}")
    return results.exit_status()


def requests(port: int, connections: int, streams: int, seconds: float, *, plain: bool) -> float:
    """Requests a second, as h2load counts them; an answer that is no success spoils the run."""
    whole = max(1, round(seconds))
    command = ["h2load", *(["--h1"] if plain else []), "-t1", f"-c{connections}", f"-m{streams}"]
    command += [f"-D{whole}", "--warm-up-time=1", f"http://127.0.0.1:{port}/hello"]
    said = harness.output_of(command, role="load", timeout=whole + 30)
    rate = re.search(r"([\d.]+) req/s", said)
    faults = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", said)
    if rate is None or faults is None or set(faults.groups()) != {"0"}:
        raise harness.Failed(f"not every answer was a success: {said.strip().splitlines()[-8:]}")
    if float(rate[1]) == 0:
        raise harness.Failed("no answer at all")
    return float(rate[1])


if __name__ == "__main__":
    sys.exit(main())
