"""FastAPI's programs on `pelton serve` and on uvicorn: the same answers, to the byte."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    "PELTON_FASTAPI_ITSELF" not in os.environ,
    reason="run by tests/conformance/run_fastapi_itself.py",
)

HERE = Path(__file__).parent
MODULE = "programs"

JSON = {"content-type": "application/json"}
USER = '{"name": "Ann", "age": 3, "friends": [{"name": "Bob", "age": 4}]}'

Ask = tuple[str, str, dict[str, Any]]

ASKED: dict[str, list[Ask]] = {
    "parameters": [
        ("GET", "/items/7?colour=blue&tags=a&tags=b", {"headers": {"x-token": "t"}}),
        ("GET", "/items/seven?colour=green", {}),
        ("GET", "/files/a/b%20c/d%2Fe", {}),
        ("POST", "/items/7", {}),
        ("GET", "/openapi.json", {}),
        ("GET", "/docs", {}),
        ("HEAD", "/items/7", {}),
    ],
    "models": [
        ("POST", "/users", {"content": USER, "headers": JSON}),
        ("POST", "/users", {"content": '{"name": "A", "age": -1}', "headers": JSON}),
        ("POST", "/users", {"content": '{"name": ', "headers": JSON}),
        ("PUT", "/users/Ann", {"content": USER, "headers": JSON}),
        ("POST", "/users", {"content": iter([USER[:9].encode(), USER[9:].encode()])}),
    ],
    "dependencies": [
        ("GET", "/?limit=3", {}),
        ("GET", "/?limit=x", {}),
        ("GET", "/fails", {}),
        ("GET", "/closed", {}),
    ],
    "forms": [
        ("POST", "/login", {"data": {"name": "ann", "secret": "1234"}}),
        ("POST", "/login", {"data": {"name": "ann", "secret": "1"}}),
        (
            "POST",
            "/upload",
            {
                "files": [
                    ("files", ("a.txt", b"x" * 2_000_000, "text/plain")),
                    ("files", ("b.bin", b"", "application/octet-stream")),
                ],
                "data": {"note": "hello"},
            },
        ),
    ],
    "answers": [
        ("GET", "/stream", {}),
        ("GET", "/file", {}),
        ("GET", "/file", {"headers": {"range": "bytes=5-9"}}),
        ("GET", "/static/file.txt", {"headers": {"range": "bytes=-3"}}),
        ("GET", "/static/none.txt", {}),
        ("GET", "/static/..%2f..%2fetc/passwd", {}),
        ("HEAD", "/file", {}),
        ("GET", "/moved", {}),
        ("DELETE", "/nothing", {}),
        ("GET", "/cookie", {}),
        ("GET", "/broken", {}),
    ],
    "middleware": [
        ("GET", "/long", {"headers": {"accept-encoding": "gzip"}}),
        ("GET", "/long", {"headers": {"accept-encoding": "identity", "origin": "http://a"}}),
        (
            "OPTIONS",
            "/long",
            {"headers": {"origin": "http://a", "access-control-request-method": "GET"}},
        ),
        ("GET", "/none", {}),
    ],
    "secured": [
        ("GET", "/me", {}),
        ("GET", "/me", {"auth": ("ann", "right")}),
        ("GET", "/me", {"auth": ("ann", "wrong")}),
        ("GET", "/scopes", {}),
    ],
    "background": [("POST", "/work", {}), ("GET", "/done", {})],
    "living": [("GET", "/state", {})],
    "routed": [
        ("GET", "/api/things/a", {}),
        ("GET", "/api/things/a/", {"follow_redirects": False}),
        ("GET", "/inner/", {}),
        ("GET", "/openapi.json", {}),
    ],
    "errors": [
        ("GET", "/unusual", {}),
        ("POST", "/request", {}),
        ("GET", "/request?a=%20b", {"headers": [("x-a", "1"), ("X-A", "2")]}),
    ],
}


@contextlib.contextmanager
def served(server: str, app: str) -> Iterator[int]:
    """The program on a server of a process of its own: its port."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.set_inheritable(True)
        port: int = sock.getsockname()[1]
        command = {
            "pelton": ["pelton", "serve", f"{MODULE}:{app}", "--fd", str(sock.fileno())],
            "uvicorn": ["uvicorn", f"{MODULE}:{app}", "--fd", str(sock.fileno())],
        }[server]
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=HERE, pass_fds=[sock.fileno()]
        )
        # The kernel holds connections until the server accepts them.
        try:
            yield port
        finally:
            process.terminate()
            process.wait(30)


def reduced(response: Any) -> tuple[Any, ...]:
    """What must be the same: all but the date, the server, and how the connection goes on."""
    own = {"date", "server", "connection", "transfer-encoding", "last-modified", "etag"}
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in own]
    # Starlette's boundary of `none` here; cookies of sessions hold times.
    return response.status_code, sorted(headers), response.content


def answers_of(server: str, app: str) -> list[tuple[Any, ...]]:
    import httpx

    found = []
    with served(server, app) as port, httpx.Client(timeout=60) as client:
        for method, path, options in ASKED[app]:
            content = options.get("content")
            if content is not None and not isinstance(content, str):
                options = {**options, "content": iter([USER[:9].encode(), USER[9:].encode()])}
            response = client.request(method, f"http://127.0.0.1:{port}{path}", **options)
            body = response.content.replace(b":%d" % port, b"")
            status, headers, _ = reduced(response)
            headers = [(name, value.replace(f":{port}", "")) for name, value in headers]
            lengths = [pair for pair in headers if pair[0] != "content-length"]
            found.append((status, lengths, body))
    return found


@pytest.mark.parametrize("app", ASKED)
def test_the_same_answers(app: str) -> None:
    ours, theirs = answers_of("pelton", app), answers_of("uvicorn", app)
    for asked, our, their in zip(ASKED[app], ours, theirs, strict=True):
        assert our == their, asked[:2]


def talk(server: str) -> list[Any]:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    heard: list[Any] = []
    with served(server, "sockets") as port:
        with connect(f"ws://127.0.0.1:{port}/echo/ann", subprotocols=["a", "b"]) as socket:  # type: ignore[list-item]
            heard.append(socket.subprotocol)
            for text in ("hello", "x" * 100_000):
                socket.send(text)
                heard.append(socket.recv(30))
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://127.0.0.1:{port}/denied")
        heard.append(refused.value.response.status_code)
    return heard


def test_the_same_words_over_websockets() -> None:
    assert talk("pelton") == talk("uvicorn")
