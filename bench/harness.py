"""What every benchmark shares: interleaved repetitions, pinned processes, the table, the JSON.

A benchmark measures *cases* (rows) on *peers* (columns). Each case runs on every peer in turn, and
so again, A B C A B C, so that a machine that grows slower does not decide who wins; the figure is
the median of a cell's repetitions. Figures are rates, where larger is better, or costs.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

RESULTS = Path(__file__).parent / "results"
OURS = "pelton"

# How long a server may take until it accepts connections.
START_SECONDS_MAX = 30.0


class Failed(Exception):
    """A cell could not be measured; the message says why."""


class Absent(Failed):
    """A peer does not have what the case asks for: an empty cell, not an error."""


@dataclass(frozen=True)
class Options:
    """What the command line says: see `parse`."""

    quick: bool
    repetitions: int
    seconds: float
    cases: Sequence[str]
    peers: Sequence[str]
    output: Path | None


@dataclass
class Results:
    """Every figure of a run: case, then peer, then one rate for each repetition."""

    name: str
    unit: str
    options: Options
    versions: Mapping[str, str]
    rates: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    errors: dict[str, dict[str, str]] = field(default_factory=dict)
    # A peer that is a limit, not a rival, is left out of "best".
    limits: frozenset[str] = frozenset()
    # The figures are no rates but costs.
    smaller_is_better: bool = False

    def measure(
        self, cases: Sequence[str], peers: Sequence[str], run: Callable[[str, str], float]
    ) -> None:
        """Run each case on each peer, interleaved, and keep the rates."""
        for case in chosen(cases, self.options.cases):
            for repetition in range(self.options.repetitions):
                for peer in chosen(peers, self.options.peers):
                    if peer not in self.errors.get(case, {}):
                        self._measure_once(case, peer, repetition, run)
            print(self.row(case, chosen(peers, self.options.peers)), flush=True)

    def _measure_once(
        self, case: str, peer: str, repetition: int, run: Callable[[str, str], float]
    ) -> None:
        try:
            rate = run(case, peer)
        except Failed as reason:
            self.errors.setdefault(case, {})[peer] = str(reason)
            if not isinstance(reason, Absent):
                print(f"{case} on {peer}, repetition {repetition + 1}: {reason}", file=sys.stderr)
        else:
            self.rates.setdefault(case, {}).setdefault(peer, []).append(rate)

    def median(self, case: str, peer: str) -> float | None:
        """The figure of a cell, or None where there is none."""
        rates = self.rates.get(case, {}).get(peer)
        return statistics.median(rates) if rates else None

    def ratio(self, case: str) -> tuple[str, float] | None:
        """The best rival's name, and our rate divided by its: above 1, ours is better.

        Costs are divided the other way round; where one is zero, there is no ratio."""
        ours = self.median(case, OURS)
        rivals = {
            peer: rate
            for peer in self.rates.get(case, {})
            if peer != OURS and peer not in self.limits and (rate := self.median(case, peer))
        }
        if not ours or not rivals:
            return None
        if self.smaller_is_better:
            best = min(rivals, key=rivals.__getitem__)
            return best, rivals[best] / ours
        best = max(rivals, key=rivals.__getitem__)
        return best, ours / rivals[best]

    def header(self, peers: Sequence[str]) -> str:
        """The first lines of the table, with the versions."""
        shown = chosen(peers, self.options.peers)
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        machine = f"{platform.python_implementation()} {platform.python_version()}, {versions}"
        columns = "".join(f"{peer:>{width(peer)}}" for peer in shown)
        return f"{machine}\n\n{self.unit:<26}{columns}   ours / best rival"

    def print_table(self, peers: Sequence[str]) -> None:
        """All of it, where it was measured beside another table."""
        print(f"\n{self.header(peers)}")
        for case in self.rates:
            print(self.row(case, chosen(peers, self.options.peers)))

    def row(self, case: str, peers: Sequence[str]) -> str:
        """One line of the table."""
        cells = "".join(f"{self._cell(case, peer):>{width(peer)}}" for peer in peers)
        ratio = self.ratio(case)
        against = f"   {ratio[1]:.2f} x {ratio[0]}" if ratio else ""
        return f"{case:<26}{cells}{against}"

    def _cell(self, case: str, peer: str) -> str:
        rate = self.median(case, peer)
        return "-" if rate is None else f"{rate:,.0f}"

    def write(self) -> Path:
        """Write everything as JSON; a quick or partial run stays out of the committed results."""
        partial = self.options.quick or self.options.cases or self.options.peers
        directory = RESULTS / "local" if partial else RESULTS
        path = self.options.output or directory / f"{self.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "benchmark": self.name,
            "unit": self.unit,
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "machine": machine(),
            "versions": dict(self.versions),
            "repetitions": self.options.repetitions,
            "rates": self.rates,
            "medians": {
                case: {peer: self.median(case, peer) for peer in peers}
                for case, peers in self.rates.items()
            },
            "errors": self.errors,
        }
        path.write_text(json.dumps(content, indent=1) + "\n")
        return path

    def exit_status(self) -> int:
        """1 where anything but an absent feature kept a cell of ours empty, else 0."""
        return int(any(OURS in peers for peers in self.errors.values()))


def width(peer: str) -> int:
    """Of a peer's column."""
    return max(12, len(peer) + 2)


def parse(description: str, *, seconds: float, quick_seconds: float) -> Options:
    """Read the command line that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="one short repetition: a smoke run")
    parser.add_argument("--repetitions", type=int, help="of each cell (default 5, quick 1)")
    parser.add_argument("--seconds", type=float, help=f"of each repetition (default {seconds:g})")
    parser.add_argument("--case", action="append", default=[], help="only cases with this in them")
    parser.add_argument("--peer", action="append", default=[], help="only these peers")
    parser.add_argument("--output", type=Path, help="the JSON file (default bench/results/...)")
    given = parser.parse_args()
    return Options(
        quick=given.quick,
        repetitions=given.repetitions or (1 if given.quick else 5),
        seconds=given.seconds or (quick_seconds if given.quick else seconds),
        cases=given.case,
        peers=given.peer,
        output=given.output,
    )


def chosen(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The names that contain a wanted word; all of them where none is wanted."""
    return [name for name in names if not wanted or any(word in name for word in wanted)]


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of the peers, and ours."""
    found = {OURS: our_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def our_version() -> str:
    """The version of the extension beside us."""
    try:
        from pelton import _core
    except ImportError as reason:
        return f"not there ({reason})"
    return _core.__version__


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": processor(),
        "cores": len(cores()),
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(role: str) -> Callable[[], None] | None:
    """A function for a child to call: the server goes to the first core, the load to the second.

    Another role is not pinned."""
    available = cores()
    if role not in ("server", "load") or len(available) < 2 or not hasattr(os, "sched_setaffinity"):
        return None
    core = available[0] if role == "server" else available[1]
    return lambda: os.sched_setaffinity(0, {core})


def output_of(
    command: Sequence[str],
    *,
    role: str,
    timeout: float,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a pinned process to its end; its output, or `Failed` with the end of what it said."""
    try:
        ran = subprocess.run(
            command,
            preexec_fn=pin(role),
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise Failed(f"no answer after {timeout:g} s: {' '.join(command)}") from late
    if ran.returncode != 0:
        last = (ran.stderr or ran.stdout).strip().splitlines() or ["it said nothing"]
        raise Failed(f"exit status {ran.returncode}: {last[-1]}")
    return ran.stdout


@contextlib.contextmanager
def server(
    command: Sequence[str],
    port: int,
    *,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    pinned: bool = True,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process group of its own, from when it accepts until it was stopped."""
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command,
            preexec_fn=pin("server") if pinned else None,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
        ) as process,
    ):
        try:
            wait_until_accepting(process, port, log)
            yield process
        finally:
            stop(process)


def wait_until_accepting(process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    """Return when the port accepts; raise `Failed` when the process ended or takes too long."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log.seek(0)
            last = log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise Failed(f"the server ended at its start: {last[-1]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise Failed(f"the server did not accept within {START_SECONDS_MAX:g} s")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and what it started."""
    for signal_number in (15, 9):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal_number)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            continue
        break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)


def program(name: str) -> str:
    """The path of a system program; Debian keeps servers out of most users' way."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
    if found is None:
        raise Failed(f"{name} is not installed")
    return found


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
