"""The loop and asyncio's primitives on it: ours beside asyncio, uvloop and rloop."""

from __future__ import annotations

import sys

from bench import harness
from bench.loop.measures import MEASURES
from bench.loops import NAMES


def main() -> int:
    """Measure, print the table, write the JSON."""
    options = harness.parse(__doc__ or "", seconds=0.5, quick_seconds=0.05)
    results = harness.Results("loop", "operations/s", options, harness.versions("uvloop", "rloop"))

    def run(case: str, loop: str) -> float:
        command = [sys.executable, "-m", "bench.loop.measures", loop, case, str(options.seconds)]
        return float(harness.output_of(command, role="server", timeout=60))

    print(results.header(NAMES))
    results.measure(list(MEASURES), NAMES, run)
    print(f"\nwritten to {results.write()}")
    return results.exit_status()


if __name__ == "__main__":
    sys.exit(main())
