"""Processes that serve: replaced when they are due, hung or asked to be; steered by signals."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import httpx
import psutil
import pytest

from tests.cli.program import Program, running
from tests.cli.waiting import is_gone, until
from tests.server.certificates import Authority, openssl

pytestmark = pytest.mark.slow

APP = """
import asyncio, os, sys, time
from pathlib import Path

VERSION = "one"

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    if path == "/hang":
        hold_the_loop()
    if path == "/grow":
        app.kept = bytearray(100_000_000)
        app.kept[::4096] = b"x" * len(app.kept[::4096])
    if path == "/slow":
        Path("slow").touch()
        while not Path("go").exists():
            await asyncio.sleep(0.02)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": f"{VERSION} {os.getpid()}".encode()})

def hold_the_loop():
    time.sleep(600)
"""
WSGI = """
import pathlib, time
def app(environ, start_response):
    if environ["PATH_INFO"] == "/hang":
        pathlib.Path("hanging").touch()
        time.sleep(600)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi"]
"""
SLOW_START = (
    """
import pathlib, time
pathlib.Path("importing").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.02)
"""
    + APP
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "served.py").write_text(APP)
    (tmp_path / "plain_wsgi.py").write_text(WSGI)
    (tmp_path / "starting.py").write_text(SLOW_START)
    return tmp_path


def get(url: str, path: str = "/") -> str:
    return httpx.get(url + path, timeout=30).text


def pid(url: str) -> int:
    return int(get(url).split()[1])


def pids(program: Program) -> set[int]:
    return {process.pid for process in program.parts("serve")}


def test_a_rolling_restart(directory: Path) -> None:
    command = ("serve", "served:app", "--port", "0", "--workers", "2")
    with running(*command, directory=directory) as program:
        url = program.url()
        before = pids(program)
        assert len(before) == 2
        (directory / "served.py").write_text(APP.replace('"one"', '"two"'))
        os.kill(program.pid, signal.SIGHUP)
        # Somebody answers at all times.
        until(lambda: {get(url).split()[0] for _ in range(8)} == {"two"}, "the new version")
        until(lambda: not before & pids(program), "the end of the old processes")
        assert len(pids(program)) == 2
        assert program.stop() == 0


def test_requests_under_way_outlive_their_process_being_replaced(directory: Path) -> None:
    command = ("serve", "served:app", "--port", "0", "--workers", "2")
    with running(*command, directory=directory) as program:
        url = program.url()
        before = pids(program)
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as client:
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            until((directory / "slow").exists, "the request")
            os.kill(program.pid, signal.SIGHUP)
            until(lambda: len(pids(program) - before) >= 1, "a new process")
            (directory / "go").touch()
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        until(lambda: not before & pids(program), "the end of the old processes")
        assert program.stop() == 0


def test_a_broken_successor_changes_nothing(directory: Path) -> None:
    command = ("serve", "served:app", "--port", "0", "--workers", "2")
    with running(*command, directory=directory) as program:
        url = program.url()
        before = pids(program)
        (directory / "served.py").write_text("raise RuntimeError('broken')\n")
        os.kill(program.pid, signal.SIGHUP)
        until(lambda: "the rolling restart ends here" in program.err, "the complaint")
        assert pids(program) == before
        assert pid(url) in before
        assert program.stop() == 0


def test_more_and_fewer_processes(directory: Path) -> None:
    command = ("serve", "served:app", "--port", "0", "--workers", "2")
    with running(*command, directory=directory) as program:
        url = program.url()
        os.kill(program.pid, signal.SIGTTIN)
        until(lambda: len(pids(program)) == 3, "a third process")
        until(lambda: {pid(url) for _ in range(10)} == pids(program), "answers of all")
        for left in (2, 1):
            os.kill(program.pid, signal.SIGTTOU)
            until(lambda left=left: len(pids(program)) == left, "one fewer")  # type: ignore[misc]
        os.kill(program.pid, signal.SIGTTOU)
        until(lambda: "the last web process stays" in program.err, "the refusal")
        assert pid(url) in pids(program)
        assert program.stop() == 0


def test_a_number_of_requests(directory: Path) -> None:
    command = ("serve", "served:app", "--port", "0", "--max-requests", "3", "--health-timeout", "1")
    with running(*command, directory=directory) as program:
        url = program.url()
        first = pid(url)
        until(lambda: pid(url) != first, "the successor")
        until(lambda: is_gone(first), "the end of the first")
        assert "is replaced: it has served" in program.err
        assert program.stop() == 0


def test_memory_and_age(directory: Path) -> None:
    flags = ("--max-rss", "120M", "--health-timeout", "1")
    with running(*("serve", "served:app", "--port", "0", *flags), directory=directory) as program:
        url = program.url()
        first = pid(url)
        get(url, "/grow")
        until(lambda: is_gone(first), "the end of the first")
        assert "bytes of resident memory" in program.err
        assert pid(url) != first
        assert program.stop() == 0
    flags = ("--max-lifetime", "0.5", "--health-timeout", "1")
    with running(*("serve", "served:app", "--port", "0", *flags), directory=directory) as program:
        first = pid(program.url())
        until(lambda: is_gone(first), "the end of the first")
        assert "it has run for" in program.err
        assert program.stop() == 0


def test_a_hung_process_writes_its_stacks_and_is_replaced(directory: Path) -> None:
    flags = ("--workers", "2", "--health-timeout", "2")
    with running(*("serve", "served:app", "--port", "0", *flags), directory=directory) as program:
        url = program.url()
        before = pids(program)
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{url}/hang", timeout=60)
        assert "gave no sign of life for 2 s" in program.err
        assert "in hold_the_loop" in program.err
        until(lambda: "is back" in program.err, "the successor")
        assert len(pids(program) - before) == 1
        assert program.stop() == 0


@pytest.mark.parametrize("command", ["serve", "run"])
def test_a_process_killed_before_it_is_ready_starts_again(directory: Path, command: str) -> None:
    arguments = (command, "starting:app", "--port", "0", "--workers", "2")
    with running(*arguments, directory=directory) as program:
        until((directory / "importing").exists, "the first process")
        [first] = pids(program)
        os.kill(first, signal.SIGKILL)
        until(lambda: pids(program) - {first}, "another try")
        (directory / "go").touch()
        assert pid(program.url()) != first
        assert "was ended by SIGKILL before it was ready" in program.err
        assert program.stop() == 0


@pytest.mark.parametrize("command", ["serve", "run"])
def test_signals_that_come_before_all_is_ready_change_nothing(
    directory: Path, command: str
) -> None:
    arguments = (command, "starting:app", "--port", "0", "--workers", "2")
    with running(*arguments, directory=directory) as program:
        until((directory / "importing").exists, "the first process")
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU):
            os.kill(program.pid, number)
            line = f"{number.name} ignored: still starting"
            until(lambda line=line: line in program.err, line)
        (directory / "go").touch()
        program.url()
        assert len(pids(program)) == 2
        assert program.stop() == 0


def test_each_worker_has_its_own_socket(directory: Path) -> None:
    command = ("serve", "served:app", "--port", "0", "--workers", "2", "--reuse-port")
    with running(*command, directory=directory) as program:
        url = program.url()
        port = int(url.rsplit(":", 1)[1])
        until(lambda: {pid(url) for _ in range(20)} == pids(program), "answers of both")
        listening = [
            connection.fd
            for connection in psutil.Process(program.pid).net_connections("tcp")
            if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
        ]
        assert len(listening) == 2
        for killed in pids(program):
            os.kill(killed, signal.SIGKILL)
        # What comes meanwhile waits in the queues that the parent holds.
        assert pid(url) in pids(program)
        assert program.stop() == 0


def test_several_places_and_a_unix_socket(directory: Path) -> None:
    path = directory / "app.sock"
    flags = ("--bind", "127.0.0.1:0", "--bind", f"unix:{path}", "--uds-mode", "600")
    with running("serve", "served:app", *flags, "--workers", "2", directory=directory) as program:
        url = program.url()
        assert f"unix:{path}" in program.out
        assert pid(url) in pids(program)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert int(client.get("http://a/").text.split()[1]) in pids(program)
        assert program.stop() == 0
    assert not path.exists()


@pytest.mark.requires("openssl")
@pytest.mark.requires("curl")
def test_certificates_on_sighup_and_logs_on_sigusr1(directory: Path) -> None:
    authority = Authority(directory)
    issued = authority.issue("localhost", "127.0.0.1")
    log = directory / "access.log"
    flags = ("--ssl-certfile", str(issued.certificate), "--ssl-keyfile", str(issued.key))
    logs = ("--access-log", "--access-log-file", str(log), "--access-log-format", "json")
    with running(
        *("serve", "served:app", "--port", "0", *flags, *logs), directory=directory
    ) as program:
        url = program.url()
        assert url.startswith("https://")
        command = ["curl", "-sS", "--noproxy", "*", "--cacert", str(authority.certificate), url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.stdout == f"one {program.pid}", done.stderr
        log.rename(directory / "access.log.1")
        os.kill(program.pid, signal.SIGUSR1)
        until(log.exists, "the new log")
        os.kill(program.pid, signal.SIGHUP)
        until(lambda: "the TLS files were read again" in program.err, "the certificates")
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.stdout == f"one {program.pid}", done.stderr
        until(lambda: '"status":200' in log.read_text(), "the line")
        assert program.stop() == 0


@pytest.mark.requires("openssl")
@pytest.mark.requires("curl")
@pytest.mark.parametrize("by_flag", [True, False])
def test_a_password_reaches_the_workers_and_no_command_line(directory: Path, by_flag: bool) -> None:
    authority = Authority(directory)
    issued = authority.issue("localhost", "127.0.0.1")
    key = directory / "encrypted.key"
    openssl(
        *("pkcs8", "-topk8", "-v2", "aes-256-cbc", "-in", str(issued.key), "-out", str(key)),
        *("-passout", "pass:hush-hush"),
    )
    flags = ["--ssl-certfile", str(issued.certificate), "--ssl-keyfile", str(key)]
    environment = {} if by_flag else {"PELTON_SSL_KEYFILE_PASSWORD": "hush-hush"}
    if by_flag:
        flags.append("--ssl-keyfile-password=hush-hush")
    with running(
        *("serve", "served:app", "--port", "0", "--workers", "2", *flags),
        directory=directory,
        **environment,
    ) as program:
        url = program.url()
        command = ["curl", "-sS", "--noproxy", "*", "--cacert", str(authority.certificate), url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        served_by = int(done.stdout.split()[1])
        assert served_by in pids(program)
        assert "hush" not in Path(f"/proc/{served_by}/cmdline").read_text()
        assert program.stop() == 0


def test_logs_of_several_processes_are_opened_again(directory: Path) -> None:
    log = directory / "access.log"
    logs = ("--access-log", "--access-log-file", str(log), "--access-log-format", "{pid}")
    with running(
        *("run", "served:app", "--port", "0", "--workers", "2", *logs), directory=directory
    ) as program:
        url = program.url()
        pid(url)
        until(lambda: log.exists() and log.read_text(), "a line")
        log.rename(directory / "access.log.1")
        os.kill(program.pid, signal.SIGUSR1)
        until(lambda: {pid(url) for _ in range(8)} == pids(program), "answers of both")
        until(lambda: log.exists() and log.read_text(), "the new log")
        assert program.stop() == 0


def test_wsgi_and_a_log_config(directory: Path) -> None:
    config = directory / "log.json"
    config.write_text(
        '{"version": 1, "formatters": {"f": {"format": "LINE %(message)s"}},'
        ' "handlers": {"h": {"class": "logging.FileHandler", "filename": "own.log",'
        ' "formatter": "f"}}, "root": {"level": "INFO", "handlers": ["h"]}}'
    )
    flags = ("--access-log", "--log-config", str(config))
    with running(
        *("serve", "plain_wsgi:app", "--port", "0", *flags), directory=directory
    ) as program:
        assert get(program.url()) == "wsgi"
        assert program.stop() == 0
    assert '"GET / HTTP/1.1" 200' in (directory / "own.log").read_text()


def test_a_wsgi_call_that_hangs_does_not_keep_the_process(directory: Path) -> None:
    command = ("serve", "plain_wsgi:app", "--port", "0", "--stop-timeout", "0.5")
    with running(*command, directory=directory) as program:
        host, port = program.url().removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as client:
            client.sendall(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
            until((directory / "hanging").exists, "the call")
            assert program.stop() == 0


def test_a_log_config_that_cannot_be_used(directory: Path) -> None:
    arguments = ("serve", "served:app", "--port", "0", "--log-config", "missing.json")
    with running(*arguments, directory=directory) as program:
        assert program.wait() == 2
        assert "the log config missing.json cannot be used" in program.err


def test_reload_looks_at_what_it_is_told(directory: Path) -> None:
    (directory / "page.html").write_text("a")
    (directory / "left_out.py").write_text("")
    flags = ("--reload", "--reload-include", "*.html", "--reload-include", "*.py")
    with running(
        *("serve", "served:app", "--port", "0", *flags, "--reload-exclude", "left_*"),
        directory=directory,
    ) as program:
        url = program.url()
        first = pid(url)
        (directory / "left_out.py").write_text("x = 1\n")
        (directory / "page.html").write_text("b")
        until(lambda: pid(url) != first, "the restart")
        assert "page.html changed" in program.err
        assert "left_out.py" not in program.err
        assert program.stop() == 0
