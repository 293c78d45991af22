"""A soak of the loop: thousands of connections opening, talking, half-closing and dying at random.

``python -m tests.soak.soak`` (``make soak``). One process serves on pelton's loop, another makes
the load, twice: a first, shorter part brings the memory to where it stays, the second is measured
against it. At the end nothing may be left: no descriptor, no memory, no transport, no task, and no
byte may have been lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from tests.soak.held import Held, raise_limit

ROOT = Path(__file__).resolve().parents[2]

#: Memory and objects may differ by this much between two quiet moments, whatever happened between.
RSS_GROWTH_MAX = 0.10
RSS_SLACK_BYTES = 16 << 20
OBJECTS_SLACK = 500
#: How long connections may take to be gone once the load is.
QUIET_S = 60


class Served:
    """A server in a process of its own, which says what it holds when it is asked."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @contextlib.asynccontextmanager
    async def by(cls, module: str, *arguments: str) -> AsyncIterator[Served]:
        """The server that this program is, while the block runs."""
        served = cls(await start(module, *arguments))
        try:
            yield served
        finally:
            with contextlib.suppress(ProcessLookupError):
                served._process.kill()
            await served._process.wait()

    async def answer(self) -> dict[str, Any]:
        """Its next line."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server ended with status {await self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def held(self) -> Held:
        """What it holds now."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return Held(**await self.answer())

    async def quiet(self) -> Held:
        """What it holds when its connections and tasks are gone, or do not go."""
        deadline = asyncio.get_running_loop().time() + QUIET_S
        held = await self.held()
        while (held.connections or held.transports or held.tasks > 0) and (
            asyncio.get_running_loop().time() < deadline
        ):
            await asyncio.sleep(0.1)
            held = await self.held()
        say(f"the server holds {held}")
        return held


class Soak:
    """The conductor of a server and its loads."""

    def __init__(self, connections: int, seed: int, kinds: Sequence[str] = ()) -> None:
        """`kinds` are those of the server; all of them if empty."""
        self._connections = connections
        self._kinds = kinds
        self._seed = seed
        self._addresses: dict[str, Any]

    async def run(self, seconds: float) -> list[str]:
        """Everything that is wrong; empty for a pass."""
        with tempfile.TemporaryDirectory(prefix="pelton-soak-") as folder:
            make_certificate(Path(folder))
            async with Served.by("tests.soak.server", str(self._connections), folder) as server:
                addresses = await server.answer()
                self._addresses = {kind: addresses[kind] for kind in self._kinds or addresses}
                # Descriptors are compared with a server that has served nobody; memory is not.
                fresh = await server.held()
                wrong = await self._load(folder, seconds / 4, self._seed)
                before = await server.quiet()
                wrong += await self._load(folder, seconds * 3 / 4, self._seed + 1)
                after = await server.quiet()
        return wrong + compare(fresh, before, after)

    async def _load(self, folder: str, seconds: float, seed: int) -> list[str]:
        orders = {
            "addresses": self._addresses,
            "folder": folder,
            "seed": seed,
            "slots": self._connections,
            "seconds": seconds,
        }
        process = await start("tests.soak.load", json.dumps(orders))
        assert process.stdout is not None
        output = await process.stdout.read()
        if await process.wait():
            return [f"the load ended with status {process.returncode}"]
        found = json.loads(output.splitlines()[-1])
        held = Held(**found["held"])
        lives = sum(count for end, count in found["counts"].items() if end != "bytes")
        say(f"seed {seed}: {lives:,} connections, {found['counts']['bytes']:,} bytes came back")
        wrong = [f"the load: {text}" for text in held.complaints]
        if found["wrong"] > len(wrong):
            wrong.append(f"and {found['wrong'] - len(wrong)} more of them")
        for what in ("transports", "tasks"):
            if count := getattr(held, what):
                wrong.append(f"the load still has {count} {what}")
        if found["fds_leaked"]:
            wrong.append(f"the load still has {found['fds_leaked']} descriptors")
        return wrong


def compare(fresh: Held, before: Held, after: Held) -> list[str]:
    """What the server has too much of."""
    wrong = [f"the server's loop: {text}" for text in after.complaints[:20]]
    for what in ("connections", "transports", "tasks", "fds"):
        if (left := getattr(after, what)) > (there := getattr(fresh, what)):
            wrong.append(f"the server holds {left} {what}, {there} when it was new")
    rss_max = before.rss_bytes * (1 + RSS_GROWTH_MAX) + RSS_SLACK_BYTES
    if after.rss_bytes > rss_max:
        wrong.append(f"memory grew from {before.rss_bytes:,} to {after.rss_bytes:,} bytes")
    if after.objects > before.objects + OBJECTS_SLACK:
        wrong.append(f"objects grew from {before.objects:,} to {after.objects:,}")
    return wrong


def make_certificate(folder: Path) -> None:
    """A certificate of this run's own; without openssl the soak has no TLS, and says so."""
    openssl = shutil.which("openssl")
    if openssl is None:
        say("no openssl (Debian: apt-get install openssl): going on without TLS")
        return
    options = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    options += ["-nodes", "-days", "2"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(
        [openssl, *options, "-subj", "/CN=localhost", *files], check=True, capture_output=True
    )


async def start(module: str, *arguments: str) -> asyncio.subprocess.Process:
    """One of the soak's programs."""
    path = os.pathsep.join((str(ROOT), str(ROOT / "python")))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
        limit=1 << 20,
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--kinds", nargs="*", default=(), help="of connections; default: all")
    options = parser.parse_args()
    connections = raise_limit(options.connections)
    if connections < options.connections:
        say(f"this machine's limit of descriptors allows {connections} connections")
    say(f"{connections} connections, {options.seconds} s, --seed {options.seed}")
    wrong = asyncio.run(Soak(connections, options.seed, options.kinds).run(options.seconds))
    for text in wrong:
        say(f"WRONG {text}")
    say("nothing leaked, nothing lost" if not wrong else f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
