"""Raw bodies saved to files."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from pelton.web import FastAPI, Request
from pelton.web.testclient import TestClient
from pelton.web.uploads import save_body
from tests.server.support import run, serving


def make_app(target: Path) -> FastAPI:
    app = FastAPI()

    @app.put("/file")
    async def save(request: Request) -> int:
        return await save_body(request, target, max_size=4_000_000, mode=0o640)

    return app


@pytest.mark.parametrize("size", [0, 5, 3_000_000])
def test_a_body_becomes_a_file(tmp_path: Path, size: int) -> None:
    target = tmp_path / "saved"
    body = b"abcde" * (size // 5)
    assert TestClient(make_app(target)).put("/file", content=body).json() == size
    assert target.read_bytes() == body
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    target.unlink()

    async def main() -> None:
        async with serving(make_app(target)) as address, await address.connect() as client:
            client.send(
                b"PUT /file HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + body
            )
            assert (await client.response()).body == b"%d" % size
            # In chunks, and over an old file.
            client.send(b"PUT /file HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.send(b"3\r\nnew\r\n0\r\n\r\n")
            assert (await client.response()).body == b"3"

    run(main())
    assert target.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_too_much_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "saved"
    target.write_bytes(b"old")
    response = TestClient(make_app(target)).put("/file", content=b"x" * 4_000_001)
    assert response.status_code == 413
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_a_client_that_leaves_leaves_nothing(tmp_path: Path) -> None:
    over = asyncio.Event()
    errors: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await save_body(Request(scope, receive), tmp_path / "saved")
        except Exception as error:
            errors.append(type(error).__name__)
        over.set()

    async def main() -> None:
        async with serving(app) as address:
            async with await address.connect() as client:
                client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
            await over.wait()

    run(main())
    assert errors == ["ClientDisconnect"]
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    client = TestClient(make_app(tmp_path / "no" / "saved"))
    with pytest.raises(FileNotFoundError):
        client.put("/file", content=b"x")
