"""`pelton run` and `pelton serve`, as processes: what a user sees of them."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import httpx
import pytest

from tests.cli.program import Program, running
from tests.cli.waiting import is_gone, until

pytestmark = pytest.mark.slow

SHOP = """
import os
from pelton.jobs import Jobs
from pelton.web import FastAPI

jobs = Jobs("sqlite:///jobs.db")
app = FastAPI(jobs=jobs)

@jobs.task
async def add(a: int, b: int) -> int:
    return a + b

@jobs.task
async def worker_pid() -> int:
    return os.getpid()

@app.get("/pid")
async def pid() -> int:
    return os.getpid()

@app.get("/worker")
async def worker() -> int:
    return await (await worker_pid.enqueue()).result(timeout=25)

@app.post("/add")
async def sum(a: int, b: int) -> int:
    return await (await add.enqueue(a, b)).result(timeout=25)

def build() -> FastAPI:
    return app
"""
PLAIN = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan here")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"plain"})
"""
NO_START = """
from contextlib import asynccontextmanager
from pelton.web import FastAPI

@asynccontextmanager
async def lifespan(app):
    raise RuntimeError("the database is away")
    yield

app = FastAPI(lifespan=lifespan)
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "plain.py").write_text(PLAIN)
    (tmp_path / "no_start.py").write_text(NO_START)
    (tmp_path / "broken.py").write_text("import surely_not_installed\n")
    return tmp_path


def pid_of(program: Program) -> int:
    answer = httpx.get(f"{program.url()}/pid", timeout=30)
    return int(answer.json())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_serves_works_and_stops(directory: Path, number: signal.Signals) -> None:
    with running("run", "shop:app", "--port", "0", directory=directory) as program:
        url = program.url()
        assert f"dashboard  {url}/_pelton" in program.out
        assert httpx.post(f"{url}/add", params={"a": 2, "b": 3}, timeout=30).json() == 5
        shown = httpx.get(f"{url}/_pelton/api/overview").json()
        [broker] = shown["brokers"]
        assert broker["queues"][0]["counts"]["succeeded"] == 1
        assert len(broker["workers"]) == 1
        tree = program.tree()
        assert len(tree) >= 4
        assert program.stop(number) == 0
        assert all(is_gone(pid) for pid in tree)
        assert "killed" not in program.err
        assert not list(directory.glob("pelton-*"))


def test_an_open_dashboard_does_not_hold_the_stop(directory: Path) -> None:
    with running("run", "shop:app", "--port", "0", directory=directory) as program:
        with httpx.stream("GET", f"{program.url()}/_pelton/api/events", timeout=30) as events:
            lines = events.iter_lines()
            while not next(lines).startswith("data: "):
                pass
            assert program.stop() == 0
        assert "gave up" not in program.err


def test_killed_processes_start_again(directory: Path) -> None:
    with running("run", "shop:app", "--port", "0", directory=directory) as program:
        url = program.url()
        web, worker = pid_of(program), httpx.get(f"{url}/worker", timeout=30).json()
        [scheduler] = program.parts("scheduler")
        for pid in (web, worker, scheduler.pid):
            os.kill(pid, signal.SIGKILL)
        until(lambda: "web is back" in program.err, "the web process")
        until(lambda: "worker is back" in program.err, "the worker")
        until(lambda: "scheduler is back" in program.err, "the scheduler")
        assert pid_of(program) != web
        assert httpx.get(f"{url}/worker", timeout=30).json() != worker
        assert "was ended by SIGKILL" in program.err
        assert program.stop() == 0


def test_nothing_outlives_a_killed_parent(directory: Path) -> None:
    arguments = ("--port", "0", "--workers", "2", "--stop-timeout", "2")
    with running("run", "shop:app", *arguments, directory=directory) as program:
        program.url()
        tree = program.tree()
        assert len(tree) >= 5
        program.kill()
        for pid in tree:
            until(lambda pid=pid: is_gone(pid), f"the end of {pid}")  # type: ignore[misc]
        assert not list(directory.glob("pelton-*"))


def test_several_web_processes_share_one_port(directory: Path) -> None:
    arguments = ("--port", "0", "--workers", "2", "--dashboard")
    with running("serve", "shop:app", *arguments, directory=directory) as program:
        url = program.url()
        pids = {process.pid for process in program.parts("serve")}
        assert len(pids) == 2
        until(lambda: {pid_of(program) for _ in range(20)} == pids, "answers of both")
        shown = until(
            lambda: len(httpx.get(f"{url}/_pelton/api/overview").json()["processes"]) == 2,
            "both in the dashboard",
        )
        assert shown
        assert not program.parts("worker")
        assert program.stop() == 0


def test_reload_serves_what_was_written(directory: Path) -> None:
    source = directory / "plain.py"
    with running("serve", "plain:app", "--port", "0", "--reload", directory=directory) as program:
        url = program.url()
        assert httpx.get(url).text == "plain"
        source.write_text(PLAIN.replace('b"plain"', "b'broken"))
        until(lambda: "ended with exit code 2" in program.err, "the complaint")
        source.write_text(PLAIN.replace("plain", "changed"))
        until(lambda: httpx.get(url, timeout=30).text == "changed", "the new text")
        assert "plain.py changed" in program.err
        assert program.stop() == 0


def test_environment_variables_stand_in_for_flags(directory: Path) -> None:
    settings = {"PELTON_APP": "shop:build", "PELTON_FACTORY": "1", "PELTON_PORT": "0"}
    with running("serve", directory=directory, **settings) as program:
        assert pid_of(program) == program.pid
        assert program.stop() == 0


def test_serve_has_no_dashboard_unless_asked(directory: Path) -> None:
    for flags, status in (((), 404), (("--dashboard",), 200)):
        with running("serve", "shop:app", "--port", "0", *flags, directory=directory) as program:
            url = program.url()
            assert httpx.get(f"{url}/_pelton/").status_code == status
            assert program.stop() == 0


def test_flags_reach_the_web_processes(directory: Path) -> None:
    flags = ("--dashboard-token", "s3cret", "--max-body", "10", "--access-log", "--workers", "2")
    with running("run", "shop:app", "--port", "0", *flags, directory=directory) as program:
        url = f"{program.url()}/_pelton/api/overview"
        elsewhere = {"x-forwarded-for": "192.0.2.7"}
        assert httpx.get(url, headers=elsewhere).status_code == 401
        shown = elsewhere | {"authorization": "Bearer s3cret"}
        assert httpx.get(url, headers=shown).status_code == 200
        assert httpx.post(program.url() + "/add", content=b"x" * 11).status_code == 413
        assert program.stop() == 0
        assert "/_pelton/api/overview" in program.err


def test_an_app_without_jobs_needs_no_worker(directory: Path) -> None:
    with running("run", "plain:app", "--port", "0", directory=directory) as program:
        assert httpx.get(program.url()).text == "plain"
        assert "has no jobs" in program.err
        assert not program.parts("worker")
        assert program.stop() == 0


@pytest.mark.parametrize("command", ["run", "serve"])
@pytest.mark.parametrize(
    ("app", "code", "says"),
    [
        ("shop:missing", 2, "did you mean shop:app?"),
        ("nothing:app", 2, "no module 'nothing'"),
        ("shop.py", 2, "try shop:app"),
        ("broken:app", 2, "raised ModuleNotFoundError while being imported"),
        ("no_start:app", 3, "failed to start: RuntimeError: the database is away"),
    ],
)
def test_a_wrong_app_ends_it_with_one_message(
    directory: Path, command: str, app: str, code: int, says: str
) -> None:
    with running(command, app, "--port", "0", directory=directory) as program:
        assert program.wait() == code
        assert program.err.count(says) == 1
        assert "Pelton runs" not in program.out


@pytest.mark.parametrize("command", ["run", "serve"])
def test_a_port_in_use(directory: Path, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with running(command, "shop:app", "--port", port, directory=directory) as program:
            assert program.wait() == 1
            assert f"port {port} on 127.0.0.1 is in use" in program.err
            assert len(program.err.splitlines()) == 1


def test_an_address_of_another_machine(directory: Path) -> None:
    with running("serve", "shop:app", "--host", "192.0.2.1", directory=directory) as program:
        assert program.wait() == 1
        assert "cannot listen on 192.0.2.1" in program.err


def test_a_broken_database_is_named(directory: Path) -> None:
    (directory / "jobs.db").write_text("this is no database\n" * 100)
    with running("run", "shop:app", "--port", "0", directory=directory) as program:
        assert program.wait() == 1
        assert "jobs.db" in program.err
        assert "Traceback" not in program.err
