"""The workers and the scheduler of a chaos run, which are killed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]

_START_SECONDS_MAX = 30.0  # for a process to begin, on a busy machine


class Processes:
    """Workers and a scheduler, any of which may die at any time."""

    def __init__(
        self, chance: random.Random, url: str, notes: Path, *, workers: int, lease: float
    ) -> None:
        self._chance = chance
        self._lease = lease
        self._environment = {
            **os.environ,
            "PELTON_BROKER": url,
            "PELTON_CHAOS_NOTES": str(notes),
        }
        self._kinds = ["worker"] * workers + ["scheduler"]
        self._running: list[asyncio.subprocess.Process] = []
        self._started: dict[int, float] = {}
        self.killed: dict[int, float] = {}
        """When each of those that were killed died, by process id."""

        self.restarts = 0
        """How many ended by themselves: the broker was away when they started."""

    @property
    def kills(self) -> int:
        """How many were killed."""
        return len(self.killed)

    @property
    def workers(self) -> set[int]:
        """The process ids of the workers that there are."""
        running = zip(self._kinds, self._running, strict=True)
        return {process.pid for kind, process in running if kind == "worker"}

    async def start(self) -> None:
        """Starts all of them."""
        self._running = [await self._start(kind) for kind in self._kinds]

    async def kill_one(self) -> None:
        """Kills one, and starts another in its place."""
        number = self._chance.randrange(len(self._kinds))
        victim = self._running[number]
        self.killed[victim.pid] = time.time()
        await self._kill(victim)
        if self._running[number] is victim:
            self._running[number] = await self._start(self._kinds[number])

    async def tend(self, stop: asyncio.Event) -> None:
        """Starts again what could not start, as a supervisor would."""
        while not stop.is_set():
            for number, process in enumerate(self._running):
                if process.returncode is None or process.pid in self.killed:
                    continue
                age = time.time() - self._started[process.pid]
                assert age < _START_SECONDS_MAX, (
                    f"a {self._kinds[number]} ended with {process.returncode} after {age:.0f} s"
                )
                self.restarts += 1
                self._running[number] = await self._start(self._kinds[number])
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Ends all, as an operator would."""
        for process in self._running:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                async with asyncio.timeout(60):
                    await process.wait()
            except TimeoutError:
                await self._kill(process)
        self._running = []

    async def _kill(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            process.kill()
        await process.wait()

    async def _start(self, kind: str) -> asyncio.subprocess.Process:
        flags = ["--lease", str(self._lease), "--cpu-processes", "1"] if kind == "worker" else []
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "pelton", kind, "tests.chaos.program:jobs", "--app-dir", str(ROOT)),
            *("--log-level", "critical", *flags),
            cwd=ROOT,
            env=self._environment,
            stderr=asyncio.subprocess.DEVNULL,  # of those that cannot start
        )
        self._started[process.pid] = time.time()
        return process
