"""What it costs that every loop is observed: the same programs on the extension as it is, and on
one that was built without counters, samples and watchdog (cargo's feature `unobserved`).

CPU time for an operation, in many short pairs, first the one, then the other first: the cost is the
median of the pairs' ratios, so that a machine that changes its speed does not decide.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from bench import harness
from bench.observe.work import WORKS

ROOT = Path(__file__).resolve().parents[1]
OBSERVED, UNOBSERVED = harness.OURS, "unobserved"
PEERS = [OBSERVED, UNOBSERVED]
# Of the work that takes a third of a second.
SHARE, QUICK_SHARE = 1.0, 0.1
PAIRS = 21


def main() -> int:
    """Measure, print the table, write the JSON."""
    options = harness.parse(__doc__ or "", seconds=SHARE, quick_seconds=QUICK_SHARE)
    pairs = 3 if options.quick else max(options.repetitions, PAIRS)
    results = harness.Results(
        "observe", "CPU ns an operation", options, harness.versions(), smaller_is_better=True
    )
    with tempfile.TemporaryDirectory() as directory:
        paths = {OBSERVED: ROOT / "python", UNOBSERVED: unobserved(Path(directory))}
        print(f"{results.header(PEERS)}{'cost':>10}{'middle half of the pairs':>30}")
        for case in harness.chosen(list(WORKS), options.cases):
            rates: dict[str, list[float]] = {peer: [] for peer in PEERS}
            for pair in range(pairs):
                for peer in PEERS if pair % 2 else PEERS[::-1]:
                    rates[peer].append(once(paths[peer], case, options.seconds))
            results.rates[case] = rates
            print(results.row(case, PEERS) + cost(rates), flush=True)
    print(f"\nwritten to {results.write()}")
    return 0


def cost(rates: dict[str, list[float]]) -> str:
    """By how much observed is more, in percent: the median of the pairs, and their quartiles."""
    ratios = [
        (with_it / without - 1) * 100
        for with_it, without in zip(rates[OBSERVED], rates[UNOBSERVED], strict=True)
    ]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:>+9.1f}%{f'{low:+.1f}% to {high:+.1f}%':>30}"


def once(path: Path, case: str, share: float) -> float:
    """The CPU time of an operation, with the package at `path`."""
    command = [sys.executable, "-m", "bench.observe.work", case, str(share)]
    environment = {**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{ROOT}"}
    return float(harness.output_of(command, role="server", timeout=120, environment=environment))


def unobserved(directory: Path) -> Path:
    """Builds the extension without observation; the folder of a package that has it."""
    target = ROOT / "target" / "unobserved"
    build = ["cargo", "build", "--release", "--locked", "--quiet", "-p", "pelton-python"]
    environment = {"PYO3_PYTHON": sys.executable, "CARGO_TARGET_DIR": str(target)}
    subprocess.run(
        [*build, "--features", "unobserved"], check=True, cwd=ROOT, env=os.environ | environment
    )
    package = directory / "pelton"
    package.mkdir()
    for part in (ROOT / "python" / "pelton").iterdir():
        if not part.name.startswith("_core."):
            (package / part.name).symlink_to(part)
    library = target / "release" / ("lib_core.dylib" if sys.platform == "darwin" else "lib_core.so")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    shutil.copy(library, package / f"_core{suffix}")
    return directory


if __name__ == "__main__":
    sys.exit(main())
