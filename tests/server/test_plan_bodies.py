"""Bodies that plans read as they come, and bodies that they send piece by piece, over a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest

from pelton.web import Body, FastAPI, Form, RateLimit, Request, UploadFile
from pelton.web.responses import EventSourceResponse
from tests.server.support import run, serving


def make_app() -> FastAPI:
    app = FastAPI()

    @app.post("/stream")
    async def stream(request: Request) -> list[int]:
        total = pieces = 0
        async for piece in request.stream():
            total += len(piece)
            pieces += bool(piece)
        return [total, int(pieces > 1)]

    @app.post("/ignored")
    async def ignored(request: Request) -> str:
        return request.headers["content-type"]

    @app.post("/form")
    async def form(upload: UploadFile, name: Annotated[str, Form()]) -> list[Any]:
        content = await upload.read()
        return [name, upload.filename, len(content), content[-1:].decode()]

    @app.get("/lines")
    async def lines(count: int = 3) -> AsyncIterator[dict[str, int]]:
        for number in range(count):
            await asyncio.sleep(0)
            yield {"number": number}

    @app.get("/events", response_class=EventSourceResponse)
    async def events() -> AsyncIterator[str]:
        yield "one"
        yield "two"

    return app


def post(path: str, kind: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def test_whoever_takes_the_request_streams_its_body() -> None:
    async def main() -> None:
        async with serving(make_app()) as address, await address.connect() as client:
            client.send(post("/stream", "text/plain", b""))
            assert json.loads((await client.response()).body) == [0, 0]
            body = b"x" * 1_000_000
            client.send(post("/stream", "text/plain", body))
            assert json.loads((await client.response()).body) == [len(body), 1]
            client.send(post("/ignored", "text/plain", b"not read"))
            assert (await client.response()).body == b'"text/plain"'
            client.send(post("/stream", "text/plain", b"next"))
            assert json.loads((await client.response()).body) == [4, 0]

    run(main())


@pytest.mark.parametrize("size", [1, 5_000_000])
def test_forms_with_files(size: int) -> None:
    async def main() -> None:
        part = b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
        content = b"y" * (size - 1) + b"z"
        body = part % (b"name", b"", b"Ada") + part % (b"upload", b'; filename="f"', content)
        body += b"--b--\r\n"
        async with serving(make_app()) as address, await address.connect() as client:
            for _ in range(2):
                client.send(post("/form", "multipart/form-data; boundary=b", body))
                assert json.loads((await client.response()).body) == ["Ada", "f", size, "z"]
            client.send(post("/form", "multipart/form-data; boundary=b", b"--b--\r\n"))
            assert (await client.response()).status == 422

    run(main())


def test_what_endpoints_yield() -> None:
    async def main() -> None:
        async with serving(make_app()) as address, await address.connect() as client:
            client.send(b"GET /lines?count=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
            response = await client.response()
            assert response.header("content-type") == "application/jsonl"
            numbers = [json.loads(line)["number"] for line in response.body.splitlines()]
            assert numbers == list(range(1000))
            client.send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
            response = await client.response()
            assert response.body == b'data: "one"\n\ndata: "two"\n\n'
            client.send(b"GET /lines?count=x HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.response()).status == 422

    run(main())


def test_a_client_that_leaves_ends_a_stream_and_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        app = FastAPI()

        @app.get("/")
        async def endless() -> AsyncIterator[str]:
            while True:
                yield "again"

        def is_running() -> bool:
            return any(task.get_name() == "pelton request" for task in asyncio.all_tasks())

        async with serving(app) as address:
            async with await address.connect() as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await client.head()
                assert is_running()
            while is_running():  # noqa: ASYNC110 - nobody tells when a client's end was noticed
                await asyncio.sleep(0.01)

    run(main())
    assert "Exception" not in caplog.text


def test_a_request_beyond_the_rate_is_refused_before_its_body() -> None:
    app = FastAPI()

    @app.post("/", limits=[RateLimit("1/day")])
    async def take(item: dict[str, int] = Body()) -> int:
        return item["a"]

    async def main() -> None:
        async with serving(app) as address, await address.connect() as client:
            client.send(post("/", "application/json", b'{"a":1}'))
            assert (await client.response()).status == 200
            # Of the second body, only the head ever comes.
            client.send(post("/", "application/json", b"x" * 1000)[:-1000])
            refused = await client.response()
            assert refused.status == 429
            assert refused.header("retry-after") is not None

    run(main())
