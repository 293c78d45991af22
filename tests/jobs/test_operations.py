"""Operating workers: orders, health, metrics, recycling, soft timeouts, the terminal."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from pelton.cli import log, main
from pelton.jobs import JobContext, JobFailed, Jobs, Worker, group
from pelton.jobs.health import HealthServer
from pelton.jobs.orders import Orders, order

from . import program
from .support import new_jobs, on_loop, until, working


@pytest.mark.brokers("sqlite", "redis", "postgresql")
@on_loop
async def test_workers_obey(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    ran: list[int] = []

    @jobs.task
    async def note(n: int) -> None:
        ran.append(n)

    worker = Worker(jobs, concurrency=4, name="one", lease=0.6)
    async with jobs, worker:
        assert await jobs.order("grow", worker="one", n=3) == 1
        await until(lambda: worker.state["concurrency"] == 7, "it grew")
        assert await jobs.order("shrink", n=100) == 1
        await until(lambda: worker.state["concurrency"] == 1, "it shrank, to one")
        await jobs.order("quiet")
        await until(lambda: worker.state["quiet"], "it is quiet")
        handle = await note.enqueue(1)
        await jobs.watch(handle.id, 99, 0.3)
        assert ran == []
        assert await jobs.order("wake", worker="nobody") == 0
        await jobs.order("wake")
        await handle.result(60)

        async def reported() -> bool:
            (record,) = await jobs.worker_records()
            return json.loads(record.report or b"{}").get("concurrency") == 1

        await until(reported, "it says so")
    assert ran == [1]
    with pytest.raises(ValueError, match="no order"):
        order("dance")


def test_orders_that_nobody_understands(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    orders = Orders({"grow": done.append})
    orders.obey([b"{", b"[]", b'{"order": "fly"}', b'{"order": "grow", "n": 2}'])
    assert done == [2]
    assert sum("not understood" in record.message for record in caplog.records) == 3


async def get(port: int, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body


@on_loop
async def test_health_and_metrics(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task(queue='odd "name"')
    async def one() -> None: ...

    async with working(jobs) as worker:
        await (await one.enqueue()).result(60)
        server = HealthServer(worker, [jobs], "127.0.0.1", 0)
        await server.start()
        try:
            assert (await get(server.port, "/live"))[0] == 200
            status, body = await get(server.port, "/ready")
            assert (status, json.loads(body)["ready"]) == (200, True)
            status, body = await get(server.port, "/metrics")
            line = 'pelton_jobs{broker="0",queue="odd \\"name\\"",state="succeeded"} 1'
            assert status == 200
            assert line in body.splitlines()
            assert "pelton_workers{" in body
            assert "pelton_worker_rss " in body
            worker.quiet()
            status, body = await get(server.port, "/ready")
            assert (status, json.loads(body)["problems"]) == (503, ["quiet"])
            assert (await get(server.port, "/else"))[0] == 404
        finally:
            await server.stop()


@pytest.mark.slow
@on_loop
async def test_pool_processes_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELTON_BROKER", f"sqlite:///{tmp_path / 'jobs.db'}")
    async with working(program.jobs, processes=1, max_jobs_per_process=2):
        pids = [await (await program.process_id.enqueue()).result(60) for _ in range(5)]
    assert len(set(pids)) == 3, pids
    async with working(program.jobs, processes=1, max_rss_per_process=1):
        pids = [await (await program.process_id.enqueue()).result(60) for _ in range(2)]
    assert len(set(pids)) == 2, pids


@pytest.mark.slow
@on_loop
async def test_what_rode_along_with_one_job_is_not_there_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PELTON_BROKER", f"sqlite:///{tmp_path / 'jobs.db'}")
    async with working(program.jobs, processes=1):
        program.origin.set("web")
        first = await program.where_from.enqueue()
        assert await first.result(60) == "web"
        program.jobs.context = ()
        try:
            assert await (await program.where_from.enqueue()).result(60) == "nowhere"
        finally:
            program.jobs.context = (program.origin,)


@pytest.mark.slow
@on_loop
async def test_a_pool_grows_with_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELTON_BROKER", f"sqlite:///{tmp_path / 'jobs.db'}")
    async with working(program.jobs, autoscale=(1, 2)) as worker:
        await until(lambda: len(worker.process_ids) == 1, "one is there")
        waiting = await group(program.process_id.si() for _ in range(20)).enqueue()
        await until(lambda: len(worker.process_ids) == 2, "a second one comes")
        await waiting.results(60)


@on_loop
async def test_soft_timeouts(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    tidied: list[str] = []

    @jobs.task(soft_timeout=0.05, timeout=60, retries=0)
    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            tidied.append("async")

    @jobs.task(soft_timeout=0.05, retries=0)
    def blocking(ctx: JobContext) -> str:
        while not ctx.cancelled:
            pass
        return "saw it"

    async with working(jobs):
        with pytest.raises(JobFailed, match="SoftTimeout"):
            await (await slow.enqueue()).result(60)
        assert await (await blocking.enqueue()).result(60) == "saw it"
    assert tidied == ["async"]


def test_json_logs() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(log.JsonFormatter("worker"))
    logger = logging.Logger("pelton.jobs")
    logger.addHandler(handler)
    context = JobContext(id="ab", task="t", attempt=2)
    logger.warning("odd: %s", "x", extra={"job_id": "ab"})
    try:
        raise ValueError("no")
    except ValueError:
        logger.exception("failed")
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["message"], first["job_id"], first["level"]) == ("odd: x", "ab", "warning")
    assert "ValueError: no" in second["exception"]
    assert context.logger.extra == {"job_id": "ab", "job_task": "t", "job_attempt": 2}


class Shell:
    """`pelton` as a shell would call it, on one broker."""

    def __init__(self, jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
        self._where = ("--broker", jobs.url)
        self._capsys = capsys

    def __call__(self, *argv: str, code: int = 0) -> str:
        assert main((*argv, *self._where)) == code
        said = self._capsys.readouterr()
        return said.out if code == 0 else said.err

    def told(self, *argv: str) -> Any:
        return json.loads(self("inspect", *argv, "--json"))


@pytest.mark.brokers("sqlite", "redis", "postgresql")
def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = new_jobs(tmp_path)
    ids: dict[str, str] = {}

    @jobs.task(name="fails", retries=1, backoff=0)
    async def fails() -> None:
        raise ValueError("out of stock")

    @jobs.task(name="idle", queue="idle")
    async def idle() -> None: ...

    @on_loop
    async def prepare() -> None:
        async with working(jobs, queues=["default"]):
            dead = await fails.enqueue()
            with pytest.raises(JobFailed):
                await dead.result(60)
            await jobs.add_schedule("later", idle, cron="0 0 1 1 *")
        async with jobs:
            whole = await group(idle.si() for _ in range(3)).enqueue()
            await idle.enqueue_many([()] * 4)
        ids.update(dead=dead.id, whole=whole.id)

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        prepare()
        check_commands(Shell(jobs, capsys), ids)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def check_commands(shell: Shell, ids: dict[str, str]) -> None:
    """What the commands say and do."""
    history = shell.told("job", ids["dead"])["history"]
    assert [(one["attempt"], one["end"]) for one in history] == [(1, "failed"), (2, "failed")]
    assert history[0]["error"]["message"] == "out of stock"
    assert "attempt 2 failed" in shell("inspect", "job", ids["dead"])
    assert shell.told("workflow", ids["whole"])["queued"] == 3
    assert shell.told("stats")["dead"] == 1
    shell("control", "limit", "queue:idle", "--rate", "10/m", "--concurrency", "2")
    (limit,) = shell.told("limits")
    assert (limit["scope"], limit["concurrency"], limit["burst"]) == ("queue:idle", 2, 1.0)
    shell("control", "limit", "queue:idle")
    assert shell.told("limits") == []
    assert "rate" in shell("control", "limit", "queue:idle", "--rate", "often", code=2)
    assert "3 jobs" in shell("control", "cancel-workflow", ids["whole"])
    assert "4 jobs" in shell("control", "purge", "idle")
    assert "1 jobs" in shell("control", "retry-dead", "default")
    assert shell.told("job", ids["dead"])["state"] == "queued"
    shell("control", "signal", ids["dead"], "--signal", "go", "--value", "[1]")
    assert "has ended" in shell("control", "signal", "0" * 32, "--signal", "go", code=1)
    assert "no such worker" in shell("control", "grow", "nobody", code=1)
    shell("control", "schedule-pause", "later")
    assert shell.told("schedules")[0]["paused"]
    shell("control", "schedule-resume", "later")
    assert shell("control", "schedule-run", "later").strip() in [
        job["id"] for job in shell.told("jobs", "--queue", "idle")
    ]
    shell("control", "schedule-remove", "later")
    assert "no such schedule" in shell("control", "schedule-pause", "later", code=1)
    page = shell("top", "--once")
    assert "QUEUE" in page
    assert "idle" in page
    assert "\x1b" not in page
