"""`pelton doctor` and `pelton routes`: what they find, and what they say about it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pelton.cli import main

APPLICATION = """
from pelton.web import APIRouter, FastAPI, UploadFile, WebSocket
from pelton.web.middleware.httpsredirect import HTTPSRedirectMiddleware
from pelton.web.responses import EventSourceResponse

app = FastAPI()
behind = FastAPI()
behind.add_middleware(HTTPSRedirectMiddleware)

@app.get("/events", response_class=EventSourceResponse)
async def events(): ...

@app.get("/hello/{name}")
async def hello(name: str) -> str:
    return name

@app.post("/photos")
async def upload(file: UploadFile) -> int:
    return file.size or 0

@app.websocket("/live")
async def live(socket: WebSocket) -> None: ...

router = APIRouter(prefix="/inner")

@router.get("/there")
def there() -> None: ...

app.include_router(router)
"""


@pytest.fixture
def app_dir(tmp_path: Path) -> Iterator[str]:
    path = list(sys.path)
    (tmp_path / "doctored.py").write_text(APPLICATION)
    (tmp_path / "plain_asgi.py").write_text("async def app(scope, receive, send): ...\n")
    yield str(tmp_path)
    sys.path[:] = path
    for name in ("doctored", "plain_asgi"):
        sys.modules.pop(name, None)


def test_doctor_without_app_checks_the_surroundings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for name in ("pelton", "python", "pydantic", "starlette", "event loop"):
        assert f"ok    {name}" in shown


def test_doctor_says_which_routes_are_not_compiled_and_why(
    capsys: pytest.CaptureFixture[str], app_dir: str
) -> None:
    assert main(["doctor", "doctored:app", "--app-dir", app_dir]) == 0
    shown = capsys.readouterr().out
    assert "3 compiled, 1 not" in shown
    assert "plan  POST /photos        compiled" in shown
    reason = "an event stream that the endpoint does not yield"
    assert f"slow  GET /events         {reason}" in shown
    assert "entry" not in shown


def test_doctor_says_that_an_app_is_entered_through_asgi(
    capsys: pytest.CaptureFixture[str], app_dir: str
) -> None:
    assert main(["doctor", "doctored:behind", "--app-dir", app_dir]) == 0
    shown = capsys.readouterr().out
    assert "through ASGI, then to the plans: it has middleware (HTTPSRedirectMiddleware)" in shown


def test_doctor_takes_any_asgi_app(capsys: pytest.CaptureFixture[str], app_dir: str) -> None:
    assert main(["doctor", "plain_asgi:app", "--app-dir", app_dir]) == 0
    assert "called as ASGI" in capsys.readouterr().out


def test_routes_are_listed_in_order(capsys: pytest.CaptureFixture[str], app_dir: str) -> None:
    assert main(["routes", "doctored:app", "--app-dir", app_dir]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[-4:] == [
        ["GET", "/hello/{name}", "doctored.hello"],
        ["POST", "/photos", "doctored.upload"],
        ["WS", "/live", "doctored.live"],
        ["GET", "/inner/there", "doctored.there"],
    ]


def test_routes_as_json(capsys: pytest.CaptureFixture[str], app_dir: str) -> None:
    assert main(["routes", "doctored:app", "--json", "--app-dir", app_dir]) == 0
    listed = {route["path"]: route for route in json.loads(capsys.readouterr().out)}
    assert listed["/hello/{name}"] == {
        "kind": "http",
        "methods": ["GET"],
        "path": "/hello/{name}",
        "name": "hello",
        "endpoint": "doctored.hello",
        "plan": True,
        "reason": None,
    }
    assert listed["/live"]["kind"] == "websocket"
    assert listed["/live"]["methods"] == []
    assert listed["/docs"]["plan"] is False


def test_an_app_without_routes(capsys: pytest.CaptureFixture[str], app_dir: str) -> None:
    assert main(["routes", "plain_asgi:app", "--app-dir", app_dir]) == 0
    assert "no routes" in capsys.readouterr().out
