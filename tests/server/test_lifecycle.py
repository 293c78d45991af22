"""Starting and stopping: in the loop, and of real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pelton
from pelton.server import Config, ConfigError, Server, StartupError
from pelton.server import run as run_server
from tests.server.support import Receive, Scope, Send, reply, run, serving

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(pelton.__file__).parents[1])}
"""A child finds the package that is tested."""

GONE = (urllib.error.URLError, ConnectionError)
"""What a client of a dead server gets."""

PROGRAM = """
import asyncio, os, sys
from pelton import server

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("shutdown", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/slow":
        print("slow", flush=True)
        await asyncio.sleep(float(os.environ.get("SLOW", "0.3")))
    if scope["path"] == "/die":
        os._exit(9)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})

if __name__ == "__main__":
    try:
        server.run(
            os.environ.get("APP", "program:app"), port=int(sys.argv[1]), workers=int(sys.argv[2]),
            on_started=lambda: print("up", flush=True),
        )
    except server.StartupError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def program(
    directory: Path, port: int, workers: int = 1, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """The program above in a process of its own, killed at the end if it still runs."""
    (directory / "program.py").write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, "program.py", str(port), str(workers)],
        cwd=directory,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def fetch(port: int, path: str = "/") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as response:
        text: str = response.read().decode()
        return text


def fetch_forever(port: int) -> None:
    while True:
        fetch(port)


def connect_forever(port: int) -> None:
    while True:
        # One that the kernel had accepted when the listener closed is reset.
        with contextlib.suppress(ConnectionResetError):
            socket.create_connection(("127.0.0.1", port)).close()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_stop_lets_requests_end_and_closes_their_connections() -> None:
    async def main() -> None:
        called, go_on = asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            called.set()
            await go_on.wait()
            await reply(send, b"done")

        async with (
            serving(app) as address,
            await address.connect() as busy,
            await address.connect() as idle,
        ):
            busy.send(GET)
            await called.wait()
            address.server.stop()
            assert await idle.closed()
            with pytest.raises(ConnectionRefusedError):
                await address.connect()
            go_on.set()
            response = await busy.response()
            assert (response.body, response.header("connection")) == (b"done", "close")
            assert await busy.closed()

    run(main())


def test_what_takes_longer_than_the_graceful_timeout_is_cancelled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cancelled: list[bool] = []

    async def main() -> None:
        called = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            called.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        async with (
            serving(app, graceful_timeout=0.1) as address,
            await address.connect() as client,
        ):
            client.send(GET)
            await called.wait()
            address.server.stop()
            assert await client.closed()

    run(main())
    assert cancelled == [True]
    assert "gave up 1 request" in caplog.text


def test_a_second_stop_does_not_wait() -> None:
    async def main() -> None:
        called = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            called.set()
            await asyncio.Event().wait()

        async with serving(app) as address, await address.connect() as client:
            client.send(GET)
            await called.wait()
            address.server.stop()
            address.server.stop()
            assert await client.closed()

    run(main())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 70_000}, "port is 70000"),
        ({"workers": 0}, "workers is 0"),
        ({"keep_alive": 0}, "keep_alive is 0"),
        ({"lifespan": "maybe"}, "lifespan is 'maybe'"),
        ({"root_path": "api"}, "root_path is 'api'"),
        ({"mounts": {"x": None}}, "mount 'x'"),
        ({"uds": "a", "fd": 3}, "exclude each other"),
        ({"colour": "red"}, "no such option: colour"),
        ({"workers": 2}, "import string"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None: ...

    with pytest.raises(ConfigError, match=message):
        run_server(app, **options)


def test_a_port_in_use_is_a_clear_error() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None: ...

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(StartupError, match=f"port {port} on 127.0.0.1 is in use") as error:
            run_server(app, port=port)
        assert error.value.exit_code == 1


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("no_such_module:app", "no module 'no_such_module'"),
        ("json:no_such_app", "module 'json' has no 'no_such_app'"),
    ],
)
def test_a_wrong_import_string_is_a_clear_error(app: str, message: str) -> None:
    with pytest.raises(StartupError, match=message) as error:
        run_server(app, port=0)
    assert error.value.exit_code == 2


@pytest.mark.parametrize("failing", ["failed", "raises"])
def test_a_failing_startup_is_a_clear_error(failing: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if failing == "raises":
            raise RuntimeError("no database")
        await send({"type": "lifespan.startup.failed", "message": "Traceback\nno database"})

    with pytest.raises(StartupError, match=r"failed to start: .*no database") as error:
        run_server(app, port=0, lifespan="on")
    assert error.value.exit_code == 3


def test_a_unix_socket(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["client"] is None
        await reply(send, b"over unix")

    async def main() -> None:
        path = str(tmp_path / "app.sock")
        # What a killed server left behind does not matter.
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)
        started = asyncio.Event()
        server = Server(app, Config(uds=path, lifespan="off"), on_started=started.set)
        task = asyncio.create_task(server.serve())
        await started.wait()
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(GET)
        assert (await reader.readuntil(b"over unix")).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
        await writer.wait_closed()
        server.stop()
        await task

    run(main())
    assert not (tmp_path / "app.sock").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_requests_end(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    with program(tmp_path, port) as process:
        assert line_of(process) == "up"
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            assert line_of(process) == "slow"
            process.send_signal(number)
            answer = b"".join(iter(lambda: sock.recv(1000), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"connection: close" in answer
        assert line_of(process) == "shutdown"
        assert process.wait(20) == 0


def test_a_second_signal_forces(tmp_path: Path) -> None:
    port = free_port()
    with program(tmp_path, port, SLOW="1000") as process:
        assert line_of(process) == "up"
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            assert line_of(process) == "slow"
            process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionRefusedError):
                connect_forever(port)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


@pytest.mark.slow
def test_workers_share_the_port_and_are_replaced(tmp_path: Path) -> None:
    port = free_port()
    with program(tmp_path, port, workers=2) as process:
        assert line_of(process) == "up"
        pids: set[str] = set()
        while len(pids) < 2:
            pids.add(fetch(port))
        assert str(process.pid) not in pids
        with pytest.raises(GONE):
            fetch(port, "/die")
        seen = set(pids)
        while len(seen) < 3:
            seen.add(fetch(port))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.slow
def test_workers_do_not_outlive_their_supervisor(tmp_path: Path) -> None:
    port = free_port()
    with program(tmp_path, port, workers=2) as process:
        assert line_of(process) == "up"
        fetch(port)
        process.kill()
        with pytest.raises(GONE):
            fetch_forever(port)


@pytest.mark.slow
def test_workers_that_cannot_start_end_the_supervisor(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('at import')\n")
    code = "from pelton import server; server.run('missing:app', port=0, workers=2)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert result.returncode == 1
    assert "no module 'missing'" in result.stderr
    assert "the workers could not start" in result.stderr


@pytest.mark.slow
def test_signals_that_come_while_workers_start_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "starting.py").write_text(
        "import pathlib, time\n"
        "print('importing', flush=True)\n"
        "while not pathlib.Path('go').exists():\n"
        "    time.sleep(0.02)\n"
        "from program import app\n"
    )
    port = free_port()
    with program(tmp_path, port, workers=2, APP="starting:app") as process:
        assert line_of(process) == "importing"
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU):
            process.send_signal(number)
        (tmp_path / "go").touch()
        lines: list[str] = []
        while "up" not in lines and process.poll() is None:
            lines.append(line_of(process))
        assert fetch(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
