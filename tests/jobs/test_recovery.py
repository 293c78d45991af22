"""Workers and schedulers as processes: killed, stopped, started again; nothing is lost."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.jobs import program
from tests.jobs.support import PATIENCE, new_url, on_loop, until

BROKERS = ("sqlite", "redis", "postgresql", "amqp")

ROOT = Path(__file__).parents[2]
LEASE = "0.5"


@pytest.fixture(autouse=True)
def broker(on_broker: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own database, for this process and its children."""
    monkeypatch.setenv("PELTON_BROKER", new_url(tmp_path))


class Children:
    """Processes of `pelton`, which end with the test."""

    def __init__(self) -> None:
        self.all: list[Process] = []

    async def worker(self, *flags: str) -> Process:
        return await self.start("worker", "--lease", LEASE, "--cpu-processes", "1", *flags)

    async def start(self, command: str, *flags: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "pelton", command, "tests.jobs.program:jobs", "--app-dir", str(ROOT), *flags),
            cwd=ROOT,
        )
        self.all.append(process)
        return process

    async def end(self) -> None:
        for process in self.all:
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def children() -> AsyncIterator[Children]:
    started = Children()
    try:
        async with program.jobs:
            yield started
    finally:
        await started.end()


async def stopped(process: Process) -> int:
    """Asks it to stop, and waits for its exit code."""
    process.send_signal(signal.SIGTERM)
    return await asyncio.wait_for(process.wait(), PATIENCE)


@pytest.mark.slow
@on_loop
async def test_a_killed_workers_job_runs_elsewhere(tmp_path: Path) -> None:
    marker, gate = tmp_path / "marker", tmp_path / "gate"
    async with children() as pelton:
        first = await pelton.worker()
        job = await program.holds.enqueue(str(marker), str(gate))
        await until(marker.exists, "the first worker holds it")
        first.kill()
        await first.wait()
        gate.touch()
        await pelton.worker()
        assert await job.result(PATIENCE) == "done"
        assert (await job.info()).attempt == 2


@pytest.mark.slow
@on_loop
async def test_a_lease_is_renewed_while_a_job_runs(tmp_path: Path) -> None:
    """It runs for several leases, beside a worker that is eager for work: once."""
    gate, log = tmp_path / "gate", tmp_path / "log"
    async with children() as pelton:
        await pelton.worker()
        job = await program.stays.enqueue(str(log), str(gate))
        await until(log.exists, "it runs")
        await pelton.worker()
        await asyncio.sleep(4 * float(LEASE))
        gate.touch()
        assert await job.result(PATIENCE) == 1
        assert len(log.read_text().split()) == 1


@pytest.mark.slow
@pytest.mark.timeout(120)
@on_loop
async def test_no_job_is_lost_when_workers_are_killed(tmp_path: Path) -> None:
    """Two workers, one killed at random times: each job ends, and ran again only if in flight."""
    log = tmp_path / "log"
    count, kills, concurrency = 400, 4, 8
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    async with children() as pelton:
        flags = ("--concurrency", str(concurrency))
        calls = [(str(log), n) for n in range(count)]
        handles = await program.append_slowly.enqueue_many(calls[: count // 2])
        handles += await program.append.enqueue_many(calls[count // 2 :])
        await pelton.worker(*flags)
        for _ in range(kills):
            victim = await pelton.worker(*flags)
            goal = min(_lines(log) + dice.randrange(1, 40), count)
            await until(partial(_has_lines, log, goal), "work goes on")
            victim.kill()
            await victim.wait()
        for number, handle in enumerate(handles):
            assert await handle.result(60) == number
    runs = Counter(log.read_text().split())
    assert set(runs) == {str(n) for n in range(count)}
    assert sum(runs.values()) <= count + kills * concurrency


@pytest.mark.slow
@on_loop
async def test_a_stopped_worker_ends_what_it_can_and_goes_on_later(tmp_path: Path) -> None:
    marker, gate, log = tmp_path / "marker", tmp_path / "gate", tmp_path / "log"
    async with children() as pelton:
        worker = await pelton.worker("--stop-timeout", "0.5", "--threads", "2")
        held = await program.holds.enqueue(str(marker), str(gate))
        await until(marker.exists, "it runs")
        assert await stopped(worker) == 0
        assert await held.status() == "queued"
        assert (await held.info()).attempt == 0
        later = await program.append.enqueue(str(log), 1)
        gate.touch()
        again = await pelton.worker()
        assert await later.result(PATIENCE) == 1
        assert await held.result(PATIENCE) == "done"
        assert await stopped(again) == 0


@pytest.mark.slow
@on_loop
async def test_a_killed_pool_process_of_a_worker_is_replaced(tmp_path: Path) -> None:
    async with children() as pelton:
        worker = await pelton.worker()
        job = await program.sometimes_dies.enqueue(str(tmp_path / "marker"))
        assert await job.result(PATIENCE) == "survived"
        assert (await job.info()).attempt == 2
        pid = await (await program.process_id.enqueue()).result(PATIENCE)
        assert await stopped(worker) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.slow
@on_loop
async def test_schedulers_take_over_from_a_killed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = tmp_path / "ticks"
    monkeypatch.setenv("TICKS", str(ticks))
    async with children() as pelton:
        first = await pelton.start("scheduler")
        await pelton.worker()
        await until(lambda: _lines(ticks) >= 2, "the first fires")
        second = await pelton.start("scheduler")
        first.kill()
        await first.wait()
        count = _lines(ticks)
        await until(lambda: _lines(ticks) > count + 2, "the second fires")
        assert await stopped(second) == 0


def _has_lines(path: Path, count: int) -> bool:
    return _lines(path) >= count


def _lines(path: Path) -> int:
    return len(path.read_text().split()) if path.exists() else 0
