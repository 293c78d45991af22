"""`pelton worker`, `scheduler`, `inspect` and `control`, as a shell would call them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pelton.cli import main
from pelton.jobs import JobFailed, Jobs
from tests.jobs.support import new_jobs, on_loop, working


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return new_jobs(tmp_path)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The commands set up logging for a process of their own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What a command prints when it succeeds."""
    assert main(argv) == 0
    return capsys.readouterr().out


def complaint(capsys: pytest.CaptureFixture[str], code: int, *argv: str) -> str:
    """What a command says when it fails with `code`."""
    assert main(argv) == code
    return capsys.readouterr().err


async def fill(jobs: Jobs) -> dict[str, str]:
    """A succeeded, a dead and a queued job; their ids."""

    @jobs.task(name="shop.double", queue="sums")
    async def double(value: int) -> int:
        return 2 * value

    @jobs.task(name="shop.fails", retries=0)
    async def fails() -> None:
        raise ValueError("out of stock")

    async with working(jobs):
        good = await double.enqueue(21)
        await good.result(20)
        dead = await fails.enqueue()
        with pytest.raises(JobFailed):
            await dead.result(20)
    async with jobs:
        queued = await double.options(key="k").enqueue(1)
    return {"good": good.id, "dead": dead.id, "queued": queued.id}


def test_inspect(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    ids: dict[str, str] = {}

    @on_loop
    async def prepare() -> None:
        ids.update(await fill(jobs))

    prepare()
    where = ("--broker", jobs.url)

    def told(*argv: str) -> Any:
        return json.loads(said(capsys, "inspect", *argv, "--json", *where))

    queues = {queue["name"]: queue["counts"] for queue in told("queues")}
    assert queues["sums"]["succeeded"] == queues["sums"]["queued"] == 1
    assert queues["default"]["dead"] == 1
    assert {job["id"] for job in told("jobs")} == set(ids.values())
    assert [job["id"] for job in told("jobs", "--state", "dead")] == [ids["dead"]]
    assert [job["id"] for job in told("jobs", "--queue", "sums", "--limit", "1")] == [ids["queued"]]
    good = told("job", ids["good"])
    assert good["payload"] == {"args": {"value": 21}}
    assert good["result"] == 42
    assert told("job", ids["dead"])["error"]["message"] == "out of stock"
    assert told("workers") == told("schedules") == []

    assert ids["queued"] in said(capsys, "inspect", "jobs", *where)
    text = said(capsys, "inspect", "job", ids["dead"], *where)
    assert "ValueError: out of stock" in text
    assert "Traceback" in text
    assert said(capsys, "inspect", "queues", *where).splitlines()[0].startswith("name ")
    assert said(capsys, "inspect", "workers", *where).startswith("name")


def test_control(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    ids: dict[str, str] = {}

    @on_loop
    async def prepare() -> None:
        ids.update(await fill(jobs))

    prepare()
    where = ("--broker", jobs.url)

    def states() -> dict[str, str]:
        listed = json.loads(said(capsys, "inspect", "jobs", "--json", *where))
        return {job["id"]: job["state"] for job in listed}

    said(capsys, "control", "cancel", ids["queued"], *where)
    assert states()[ids["queued"]] == "cancelled"
    said(capsys, "control", "retry", ids["queued"], ids["dead"], *where)
    assert states()[ids["queued"]] == states()[ids["dead"]] == "queued"
    said(capsys, "control", "delete", ids["good"], *where)
    assert ids["good"] not in states()
    assert "not ended" in complaint(capsys, 1, "control", "delete", ids["dead"], *where)
    said(capsys, "control", "pause", "sums", *where)
    paused = json.loads(said(capsys, "inspect", "queues", "--json", *where))
    assert {queue["name"]: queue["paused"] for queue in paused}["sums"] is True
    said(capsys, "control", "resume", "sums", *where)


def test_what_is_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PELTON_BROKER", raising=False)
    monkeypatch.delenv("PELTON_APP", raising=False)
    assert "no database at sqlite:///pelton.db" in complaint(capsys, 1, "inspect", "jobs")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "bad.db").write_bytes(b"no database" * 1000)
    assert "bad.db" in complaint(capsys, 1, "inspect", "jobs", "--broker", "sqlite:///bad.db")
    assert "inspect job ID" in complaint(capsys, 2, "inspect", "job")
    assert "inspect job ID" in complaint(capsys, 2, "inspect", "queues", "x")
    Jobs(f"sqlite:///{tmp_path}/jobs.db").broker.close()
    missing = complaint(capsys, 1, "inspect", "job", "0" * 32, "--broker", "sqlite:///jobs.db")
    assert "no job" in missing


def test_apps_without_jobs_and_broken_brokers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gc

    (tmp_path / "brokenbroker.py").write_text(
        "from pelton.jobs import Jobs\n"
        "jobs = Jobs('sqlite:///bad.db')\n"
        "@jobs.task\n"
        "async def work() -> None: ...\n"
    )
    (tmp_path / "nojobs.py").write_text("app = 1\n")
    (tmp_path / "bad.db").write_bytes(b"no database" * 1000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pelton.jobs.instances", list)
    for command in ("worker", "scheduler"):
        text = complaint(capsys, 2, command, "nojobs:app", "--app-dir", str(tmp_path))
        assert "made no Jobs object" in text
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    gc.collect()
    import pelton.jobs

    everything = pelton.jobs.instances
    monkeypatch.setattr(
        "pelton.jobs.instances",
        lambda: [each for each in everything() if each.url == "sqlite:///bad.db"],
    )
    for command in ("worker", "scheduler"):
        text = complaint(capsys, 1, command, "brokenbroker:jobs", "--app-dir", str(tmp_path))
        assert text.startswith("pelton: ")
    assert "no module" in complaint(capsys, 2, "worker", "nowhere_at_all:app")
