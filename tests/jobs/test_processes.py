"""`cpu=True` tasks: in processes that may die at any time."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from pelton.jobs import JobCancelled, JobFailed, Jobs, Worker, child
from tests.jobs import program
from tests.jobs.support import on_loop, until


@asynccontextmanager
async def pool_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int = 1, concurrency: int = 100
) -> AsyncIterator[Worker]:
    """A worker of `program`, whose pool has imported it."""
    monkeypatch.setenv("PELTON_BROKER", f"sqlite:///{tmp_path / 'jobs.db'}")
    async with program.jobs:
        worker = Worker(program.jobs, processes=processes, concurrency=concurrency)
        await worker.start()
        try:
            yield worker
        finally:
            await worker.stop(grace=0.0)


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@on_loop
async def test_tasks_run_in_processes_with_typed_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pool_of(tmp_path, monkeypatch, processes=2) as worker:
        handles = [await program.area.enqueue(program.Size(width=n)) for n in range(8)]
        assert [await job.result(40) for job in handles] == [2 * n for n in range(8)]
        pid = await (await program.process_id.enqueue()).result(20)
        assert pid in worker.process_ids
        assert pid != os.getpid()
        pids = worker.process_ids
    assert not any(map(alive, pids))


@on_loop
async def test_failures_come_back_with_their_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pool_of(tmp_path, monkeypatch):
        job = await program.fails.enqueue()
        with pytest.raises(JobFailed) as caught:
            await job.result(40)
        assert caught.value.type == "KeyError"
        assert caught.value.message == "'tests.jobs.program.fails 2 of 2'"
        assert "program.py" in caught.value.traceback
        with pytest.raises(JobFailed, match="SystemExit: 3"):
            await (await program.exits.enqueue()).result(20)


@pytest.mark.slow
@on_loop
async def test_a_killed_process_fails_its_attempt_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pool_of(tmp_path, monkeypatch) as worker:
        job = await program.sometimes_dies.enqueue(str(tmp_path / "marker"))
        behind = await program.area.enqueue(program.Size(width=3))
        assert await job.result(40) == "survived"
        assert await behind.result(20) == 6
        record = await job.info()
        assert record.attempt == 2
        assert record.error is not None
        assert b"was killed by SIGKILL" in record.error
        # Killed while idle: replaced, and nothing fails.
        (pid,) = worker.process_ids
        os.kill(pid, signal.SIGKILL)
        await until(lambda: worker.process_ids not in ([pid], []), "another process is there")
        assert await (await program.area.enqueue(program.Size(width=1))).result(20) == 2


@pytest.mark.slow
@on_loop
async def test_a_timeout_kills_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "marker"
    async with pool_of(tmp_path, monkeypatch):
        job = await program.never_ends.enqueue(str(marker))
        with pytest.raises(JobFailed, match=r"TimeoutError.*timeout of 0.3 s"):
            await job.result(40)
        await until(lambda: not alive(int(marker.read_text())), "the process is gone")
        assert await (await program.area.enqueue(program.Size(width=1))).result(20) == 2


@pytest.mark.slow
@on_loop
async def test_cancelling_kills_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    async with pool_of(tmp_path, monkeypatch):
        job = await program.runs_until_killed.enqueue(str(marker))
        await until(lambda: marker.exists() and marker.read_text() != "", "it runs")
        await job.cancel()
        with pytest.raises(JobCancelled):
            await job.result(20)
        await until(lambda: not alive(int(marker.read_text())), "the process is gone")
        assert await (await program.area.enqueue(program.Size(width=1))).result(20) == 2


@pytest.mark.slow
@on_loop
async def test_stop_kills_and_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "marker"
    async with pool_of(tmp_path, monkeypatch):
        job = await program.runs_until_killed.enqueue(str(marker))
        await until(lambda: marker.exists() and marker.read_text() != "", "it runs")
        waiting = await program.area.enqueue(program.Size(width=1))
        await until(lambda: _running(program.jobs, waiting.id), "it waits for the process")
    assert not alive(int(marker.read_text()))
    async with program.jobs:
        assert await job.status() == await waiting.status() == "queued"
        assert (await job.info()).attempt == 0


@on_loop
async def test_a_queue_for_the_pool_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, log = tmp_path / "gate", tmp_path / "log"
    async with pool_of(tmp_path, monkeypatch, concurrency=2):
        held = await program.waits.enqueue_many([(str(gate),)] * 6)
        for number in range(5):
            assert await (await program.append.enqueue(str(log), number)).result(40) == number
        states = Counter([await job.status() for job in held])
        assert states["running"] <= 2
        assert states["queued"] >= 4
        gate.touch()
        assert len({await job.result(40) for job in held}) == 1


async def _running(jobs: Jobs, id: str) -> bool:
    return (await jobs.record(id)).state == "running"


@on_loop
async def test_progress_comes_out_of_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    async with pool_of(tmp_path, monkeypatch):
        job = await program.tells.enqueue(str(gate))
        async for record in job.updates():
            if record.progress == 0.25:
                assert record.message == "quarter"
                gate.touch()
        assert record.state == "succeeded"


@on_loop
async def test_a_program_that_does_not_import_fails_its_jobs_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onlyhere.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PELTON_BROKER", f"sqlite:///{tmp_path / 'jobs.db'}")
    async with program.jobs, Worker(program.jobs, processes=1, app="onlyhere:app", grace=0.0):
        job = await program.area.enqueue(program.Size(width=1))
        with pytest.raises(JobFailed, match="nowhere_to_be_found"):
            await job.result(40)


@pytest.mark.slow
@on_loop
async def test_a_local_function_is_unknown_in_the_process(tmp_path: Path) -> None:
    jobs = Jobs(f"sqlite:///{tmp_path / 'jobs.db'}")

    @jobs.task(cpu=True, retries=0)
    def local() -> None: ...

    async with jobs, Worker(jobs, processes=1, grace=0.0):
        with pytest.raises(JobFailed, match="top level of a module"):
            await (await local.enqueue()).result(40)


@pytest.mark.slow
@pytest.mark.parametrize("busy", [False, True])
@on_loop
async def test_processes_end_with_their_worker(tmp_path: Path, busy: bool) -> None:
    """A worker that is killed leaves no process behind, nor does one that did not listen."""
    (tmp_path / "imported.py").write_text(
        f"import os, pathlib\npathlib.Path({str(tmp_path)!r}, f'{{os.getpid()}}.pid').touch()\n"
    )
    code = (
        "import asyncio, sys, time\n"
        "from pelton.jobs.processes import Origin, ProcessPool\n"
        "async def main():\n"
        f"    path = [{str(tmp_path)!r}, *sys.path]\n"
        "    pool = ProcessPool(2, Origin(['imported'], None, path))\n"
        "    pool.start()\n"
        "    print(*pool.pids, flush=True)\n"
        "    await asyncio.sleep(0.2)\n"
        f"    {'time.sleep(60)' if busy else 'await asyncio.sleep(60)'}\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pids = [int(word) for word in (await parent.stdout.readline()).split()]
    assert len(pids) == 2
    await until(lambda: len(list(tmp_path.glob("*.pid"))) == 2, "both have imported the program")
    parent.kill()
    await parent.wait()
    await until(lambda: not any(map(alive, pids)), "the processes are gone")


def test_a_soft_timeout_that_comes_at_the_tasks_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs(f"sqlite:///{tmp_path / 'jobs.db'}")

    @jobs.task(name="tests.ends_late", cpu=True, soft_timeout=60.0)
    def ends_late() -> int:
        return 1

    def late(*args: Any) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr("pelton.jobs.attempt.run_blocking", late)
    before = signal.getsignal(signal.SIGUSR1)
    try:
        payload = ends_late.arguments.encode((), {}, None)
        channel: Any = None
        ended = child._run(channel, "0" * 32, ends_late.name, "default", 1, 3, payload, [], None)
        assert isinstance(ended, tuple)
        assert b"SoftTimeout" in ended[0]
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_as_many_jobs_are_held_as_an_autoscaled_pool_can_run(tmp_path: Path) -> None:
    jobs = Jobs(f"sqlite:///{tmp_path / 'jobs.db'}")

    @jobs.task(name="tests.pooled", queue="pool", cpu=True)
    def pooled() -> None: ...

    for options, expected in (
        ({"processes": 2, "autoscale": (1, 16)}, 32),
        ({"processes": 2}, 4),
        ({"processes": 2, "autoscale": (1, 16), "concurrency": 10}, 10),
    ):
        worker = Worker(jobs, **options)  # type: ignore[arg-type]
        lanes = {lane.name: lane for lane in worker._lane_settings({pooled.name: pooled})}
        assert lanes[f"{worker.name}-pool"].concurrency == expected
