"""Background tasks: in the process, and durable ones, which jobs keep."""

from __future__ import annotations

import asyncio
import signal
import textwrap
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from pelton._core import BrokerError
from pelton.jobs import InvalidArguments, Job, JobContext, Jobs
from pelton.web import BackgroundTasks, Depends, FastAPI, HTTPException, _plan
from pelton.web.responses import JSONResponse
from pelton.web.testclient import TestClient
from tests.cli.program import running
from tests.cli.waiting import until
from tests.web.plan_paths import Call, directly, through_asgi

PATHS = ("reference", "planned", "direct")


class Shop:
    """An app with jobs; `records` says what was written to them."""

    def __init__(self, directory: Path) -> None:
        self.jobs = Jobs(f"sqlite:///{directory / 'jobs.db'}")
        self.app = FastAPI(jobs=self.jobs)
        self.ran: list[Any] = []

        @self.jobs.task
        async def send(number: int, greeting: str = "hello") -> None:
            self.ran.append((number, greeting))

        self.send = send

    def ask(self, path: str, url: str) -> Any:
        """One request on one path, and what it left in the broker."""

        async def run() -> Any:
            async with self.jobs:
                call = Call("POST", url)
                if path == "direct":
                    outcome = await directly(self.app, call, [])
                elif path == "planned":
                    outcome = await through_asgi(self.app, call, [])
                else:
                    with _plan.disabled():
                        outcome = await through_asgi(self.app, call, [])
                assert outcome is not None
                return outcome, await self.jobs.records()

        return asyncio.run(run())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.mark.parametrize("path", PATHS)
def test_a_durable_task_is_a_job_when_the_response_comes(shop: Shop, path: str) -> None:
    jobs: list[Job[Any]] = []

    @shop.app.post("/")
    async def create(background: BackgroundTasks) -> dict[str, str]:
        background.add_task(shop.ran.append, "in the process")
        job = background.add_task(shop.send, 7, greeting="hi", durable=True)
        jobs.append(job)
        return {"job": job.id}

    outcome, records = shop.ask(path, "/")
    assert outcome.status == 200
    assert [(record.id, record.state) for record in records] == [(jobs[0].id, "queued")]
    assert jobs[0].id in outcome.body.decode()
    assert shop.ran == ["in the process"]


@pytest.mark.parametrize("path", PATHS)
def test_dependencies_and_own_responses_may_have_durable_tasks(shop: Shop, path: str) -> None:
    async def dependency(background: BackgroundTasks) -> None:
        background.add_task(shop.send, 1, durable=True)

    @shop.app.post("/injected", dependencies=[Depends(dependency)])
    async def injected() -> JSONResponse:
        return JSONResponse("response")

    @shop.app.post("/own")
    async def own() -> JSONResponse:
        tasks = BackgroundTasks()
        tasks.add_task(shop.send, 2, durable=True)
        return JSONResponse("response", background=tasks)

    assert len(shop.ask(path, "/injected")[1]) == 1
    assert len(shop.ask(path, "/own")[1]) == 2


@pytest.mark.parametrize("path", PATHS)
def test_an_endpoint_that_raises_leaves_no_job(shop: Shop, path: str) -> None:
    @shop.app.post("/")
    async def create(background: BackgroundTasks) -> None:
        background.add_task(shop.send, 7, durable=True)
        raise HTTPException(409)

    outcome, records = shop.ask(path, "/")
    assert (outcome.status, records) == (409, [])


@pytest.mark.parametrize("path", PATHS)
def test_the_response_does_not_say_what_could_not_be_written(
    shop: Shop, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @shop.app.post("/")
    async def create(background: BackgroundTasks) -> None:
        background.add_task(shop.ran.append, "must not run")
        background.add_task(shop.send, 7, durable=True)

    async def refuse(*_: object) -> list[str]:
        raise BrokerError("the disk is full")

    monkeypatch.setattr(shop.jobs, "write", refuse)
    outcome, _ = shop.ask(path, "/")
    assert outcome.status == 500
    assert "the disk is full" in outcome.error
    assert shop.ran == []


def test_arguments_are_checked_at_once(shop: Shop) -> None:
    background = BackgroundTasks()
    with pytest.raises(InvalidArguments, match="number"):
        background.add_task(shop.send, "seven", durable=True)
    assert not background.is_uncommitted


def test_a_plain_function_cannot_be_durable() -> None:
    def send(number: int) -> None: ...

    background = BackgroundTasks()
    with pytest.raises(TypeError, match=r"Declare .*send with @jobs\.task.*FastAPI\(jobs=jobs\)"):
        background.add_task(send, 7, durable=True)


def test_a_function_s_own_argument_of_that_name_is_its_own() -> None:
    got: list[Any] = []

    def own(value: int, durable: bool = False) -> None:
        got.append((value, durable))

    def anything(**values: Any) -> None:
        got.append(values)

    app = FastAPI()

    @app.post("/")
    async def create(background: BackgroundTasks) -> None:
        background.add_task(own, 1, durable=True)
        background.add_task(anything, durable=True)

    assert TestClient(app).post("/").status_code == 200
    assert got == [(1, True), {"durable": True}]


def test_a_task_that_is_not_durable_runs_here(shop: Shop) -> None:
    @shop.jobs.task
    def blocking(context: JobContext, number: int) -> None:
        shop.ran.append((context.task.rpartition(".")[2], number))

    @shop.app.post("/")
    async def create(background: BackgroundTasks) -> None:
        background.add_task(shop.send, 1)
        background.add_task(blocking, 2)
        background.add_task(shop.send, 3, durable=False)

    outcome, records = shop.ask("planned", "/")
    assert outcome.error is not None, "durable=False is no argument of the task"
    assert records == []
    assert shop.ran == [(1, "hello"), ("blocking", 2)]


def test_options_hold_for_durable_tasks(shop: Shop) -> None:
    handles: list[Job[Any]] = []

    @shop.app.post("/")
    async def create(background: BackgroundTasks) -> None:
        for _ in range(2):
            later = shop.send.options(key="once", delay=3600)
            handles.append(background.add_task(later, 1, durable=True))

    _, records = shop.ask("planned", "/")
    assert [record.state for record in records] == ["scheduled"]
    assert {handle.id for handle in handles} == {records[0].id}


PROGRAM = """
    import pathlib
    from pelton.jobs import Jobs
    from pelton.web import BackgroundTasks, FastAPI

    jobs = Jobs()
    app = FastAPI(jobs=jobs)

    @jobs.task
    async def write(name: str, text: str) -> None:
        pathlib.Path(name).write_text(text)

    @app.post("/{text}")
    async def create(text: str, background: BackgroundTasks) -> str:
        return background.add_task(write, "done.txt", text, durable=True).id
"""


@pytest.mark.slow
def test_a_durable_task_outlives_a_server_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(textwrap.dedent(PROGRAM))
    with running("serve", "shop:app", "--port", "0", directory=tmp_path) as program:
        request = urllib.request.Request(f"{program.url()}/kept", method="POST")
        with urllib.request.urlopen(request, timeout=30) as response:
            assert response.status == 200
        for process in program.parts("serve"):
            process.send_signal(signal.SIGKILL)
        program.kill()
    assert not (tmp_path / "done.txt").exists(), "a server runs no jobs"
    with running("worker", "shop:app", directory=tmp_path) as program:
        done = tmp_path / "done.txt"
        until(lambda: done.exists() and done.read_text() == "kept", "the job")
        assert program.stop() == 0
