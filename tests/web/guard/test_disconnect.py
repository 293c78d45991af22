"""Requests that are cancelled when their client has gone, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pelton.web import Depends, FastAPI, Request, UploadFile
from pelton.web.testclient import TestClient
from tests.jobs.support import until
from tests.server.support import run, serving

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Visits:
    """An app that notes what becomes of a request."""

    def __init__(self, **options: Any) -> None:
        self.begun, self.ended = asyncio.Event(), asyncio.Event()
        self.go = asyncio.Event()
        self.notes: list[str] = []
        self.app = FastAPI(**options)

        async def resource() -> AsyncIterator[None]:
            try:
                yield
            finally:
                await asyncio.sleep(0.01)
                self.notes.append("cleaned up")
                self.ended.set()

        @self.app.get("/", dependencies=[Depends(resource)])
        async def read() -> str:
            self.begun.set()
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.notes.append("cancelled")
                raise
            self.notes.append("finished")
            return "answer"


def test_a_request_ends_with_its_client() -> None:
    async def main() -> None:
        visits = Visits(cancel_on_disconnect=True)
        async with serving(visits.app) as address:
            client = await address.connect()
            client.send(GET)
            await visits.begun.wait()
            await client.close()
            await visits.ended.wait()
            assert visits.notes == ["cancelled", "cleaned up"]

    run(main())


def test_without_the_option_it_runs_to_its_end() -> None:
    async def main() -> None:
        visits = Visits()
        async with serving(visits.app) as address:
            client = await address.connect()
            client.send(GET)
            await visits.begun.wait()
            await client.close()
            visits.go.set()
            await visits.ended.wait()
            assert visits.notes == ["finished", "cleaned up"]

    run(main())


def test_whoever_stays_is_answered() -> None:
    async def main() -> None:
        visits = Visits(cancel_on_disconnect=True, deadline=60)
        async with serving(visits.app) as address, await address.connect() as client:
            for _ in range(2):
                visits.go.set()
                client.send(GET)
                response = await client.response()
                assert (response.status, response.body) == (200, b'"answer"')

    run(main())


def test_bodies_come_whole_through_the_watch() -> None:
    app = FastAPI(cancel_on_disconnect=True)

    @app.post("/stream")
    async def stream(request: Request) -> list[int]:
        return [len(part) async for part in request.stream()]

    @app.post("/file")
    async def file(file: UploadFile) -> int:
        return len(await file.read())

    @app.post("/json")
    async def body(value: dict[str, int]) -> dict[str, int]:
        return value

    async def main() -> None:
        async with serving(app) as address, await address.connect() as client:
            size = 300_000
            client.send(b"POST /stream HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size)
            for _ in range(3):
                client.send(b"x" * (size // 3))
                await client.writer.drain()
            response = await client.response()
            parts = response.body.decode().strip("[]").split(",")
            assert sum(int(part) for part in parts) == size

    run(main())
    client = TestClient(app)
    assert client.post("/json", json={"a": 1}).json() == {"a": 1}
    assert client.post("/file", files={"file": b"content"}).json() == 7


def test_an_upload_that_breaks_off_ends_the_request() -> None:
    notes: list[str] = []
    ended = asyncio.Event()
    app = FastAPI(cancel_on_disconnect=True)

    @app.post("/")
    async def upload(request: Request) -> None:
        try:
            async for _ in request.stream():
                notes.append("part")
        finally:
            ended.set()

    async def main() -> None:
        async with serving(app) as address:
            client = await address.connect()
            client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nabc")
            await until(lambda: bool(notes), "the first part")
            await client.close()
            await ended.wait()

    run(main())


@pytest.mark.parametrize("backend", ["asyncio"])
def test_the_test_client_stays_to_the_end(backend: str) -> None:
    app = FastAPI(cancel_on_disconnect=True)

    @app.get("/")
    async def read() -> int:
        await asyncio.sleep(0.01)
        return 1

    @app.get("/error")
    async def error() -> None:
        raise ValueError("of the endpoint")

    client = TestClient(app, backend=backend)  # type: ignore[arg-type]
    assert client.get("/").json() == 1
    with pytest.raises(ValueError, match="of the endpoint"):
        client.get("/error")
