"""What ASGI applications may send beyond plain messages: files, trailers, early hints."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from pelton.web import FastAPI, Request
from pelton.web.responses import FileResponse
from pelton.web.staticfiles import StaticFiles
from tests.server.support import Client, Receive, Response, Scope, Send, reply, run, serving

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    return path


def start(status: int = 200, *headers: Any, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def answer_of(app: Any, request: bytes = GET, then: bytes = b"") -> Response:
    """The app's answer; `then` is asked after it on the same connection, and must be answered."""
    found: list[Response] = []

    async def main() -> None:
        async with serving(app) as address, await address.connect() as client:
            client.send(request)
            found.append(await client.response(request.split(b" ")[0]))
            if then:
                client.send(then)
                assert (await client.response()).status == 200

    run(main())
    return found[0]


def test_the_scope_names_them() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        names = sorted(scope["extensions"])
        # What one request takes away, the next has.
        scope["extensions"].clear()
        await reply(send, " ".join(names).encode())

    expected = [
        "http.response.early_hint",
        "http.response.pathsend",
        "http.response.trailers",
        "http.response.zerocopysend",
    ]
    assert answer_of(app, then=GET).body.decode().split() == expected


@pytest.mark.parametrize("with_length", [True, False])
def test_a_file_is_sent_by_its_path(file: Path, with_length: bool) -> None:
    length = [(b"content-length", b"%d" % len(CONTENT))] if with_length else []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, *length))
        await send({"type": "http.response.pathsend", "path": str(file)})

    response = answer_of(app, then=GET)
    assert response.header("content-length") == str(len(CONTENT))
    assert response.body == CONTENT
    head = answer_of(app, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", then=GET)
    assert head.body == b""


def test_parts_of_files_mix_with_bytes(file: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with file.open("rb") as opened:
            opened.seek(5)
            copy = {"type": "http.response.zerocopysend", "more_body": True}
            await send(start())
            await send({"type": "http.response.body", "body": b"<", "more_body": True})
            await send({**copy, "file": opened, "count": 3})
            await send({**copy, "file": opened, "count": 2})
            await send({**copy, "file": opened.fileno(), "offset": 256, "count": 4})
            await send({**copy, "file": opened, "offset": len(CONTENT) - 2, "count": 100})
            await send({"type": "http.response.body", "body": b">", "more_body": True})
            await send({"type": "http.response.zerocopysend", "file": opened, "offset": 1 << 40})

    body = answer_of(app, then=GET).body
    assert body == b"<" + CONTENT[5:10] + CONTENT[256:260] + CONTENT[-2:] + b">"


def test_a_file_that_grew_is_sent_as_long_as_was_said(file: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(200, (b"content-length", b"10")))
        await send({"type": "http.response.pathsend", "path": str(file)})

    assert answer_of(app, then=GET).body == CONTENT[:10]


def test_files_that_cannot_be_sent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(tmp_path / "pipe")
    messages: list[dict[str, Any]] = [
        {"type": "http.response.pathsend", "path": str(tmp_path / "none")},
        {"type": "http.response.pathsend", "path": "file.bin"},
        {"type": "http.response.pathsend", "path": str(tmp_path)},
        {"type": "http.response.pathsend", "path": str(tmp_path / "pipe")},
        {"type": "http.response.pathsend"},
        {"type": "http.response.zerocopysend", "file": -1},
        {"type": "http.response.zerocopysend", "file": b"bytes"},
    ]
    for message in messages:

        async def app(
            scope: Scope, receive: Receive, send: Send, message: dict[str, Any] = message
        ) -> None:
            await send(start())
            await send(message)

        assert answer_of(app).status == 500, message


def test_a_slow_client_holds_the_application_back(file: Path) -> None:
    with file.open("ab") as opened:
        opened.truncate(64 << 20)

    async def main() -> None:
        sent = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            with file.open("rb") as opened:
                copy = {"type": "http.response.zerocopysend", "file": opened, "offset": 0}
                await send(start())
                await send({**copy, "more_body": True})
                sent.set()
                await send({"type": "http.response.body", "body": b"end"})

        async with serving(app) as address, await address.connect(receive_buffer=4096) as client:
            client.send(GET)
            await client.head()
            size = 0
            async for chunk in _pieces(client):
                size += len(chunk)
                if size < 16 << 20:
                    assert not sent.is_set(), "the client has not had a quarter of it"
            assert size == (64 << 20) + 3

    run(main(), 60)


async def _pieces(client: Client) -> Any:
    while size := int(await client.reader.readline(), 16):
        left = size
        while left:
            piece = await client.reader.read(min(left, 1 << 16))
            assert piece
            left -= len(piece)
            yield piece
        assert await client.reader.readexactly(2) == b"\r\n"


def test_a_client_that_leaves_in_mid_file(file: Path) -> None:
    with file.open("ab") as opened:
        opened.truncate(256 << 20)

    async def main() -> None:
        raised = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send(start())
            try:
                with file.open("rb") as opened:
                    while True:
                        await send(
                            {
                                "type": "http.response.zerocopysend",
                                "file": opened,
                                "offset": 0,
                                "more_body": True,
                            }
                        )
            except OSError:
                raised.set()
                raise

        async with serving(app) as address:
            async with await address.connect() as client:
                client.send(GET)
                await client.head()
            await raised.wait()

    run(main(), 60)


def test_trailers_go_to_those_who_asked() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start(trailers=True))
        await send({"type": "http.response.body", "body": b"hello"})
        trailers = {"type": "http.response.trailers"}
        await send({**trailers, "headers": [(b"x-sum", b"1")], "more_trailers": True})
        await send({**trailers, "headers": [(b"x-more", b"2")]})

    async def main() -> None:
        async with serving(app) as address:
            async with await address.connect() as client:
                asked = b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n"
                client.send(asked)
                await client.head()
                rest = await client.reader.read()
                assert rest == b"5\r\nhello\r\n0\r\nx-sum: 1\r\nx-more: 2\r\n\r\n"
            async with await address.connect() as client:
                for _ in range(2):
                    client.send(GET)
                    assert (await client.response()).body == b"hello"
            async with await address.connect() as client:
                client.send(b"GET / HTTP/1.0\r\nTE: trailers\r\n\r\n")
                assert (await client.response()).body == b"hello"

    run(main())


@pytest.mark.parametrize("name", [b"content-length", b"Transfer-Encoding", b"host", b"a b"])
def test_trailers_that_cannot_be(name: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        raised = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send(start(trailers=True))
            await send({"type": "http.response.body", "body": b"hello"})
            with pytest.raises(ValueError, match=r"trailer|header name"):
                await send({"type": "http.response.trailers", "headers": [(name, b"1")]})
            raised.set()
            await send({"type": "http.response.trailers", "headers": []})

        async with serving(app) as address:
            request = b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n"
            assert (await address.ask(request)).body == b"hello"
            assert raised.is_set()

    run(main())


def test_early_hints_come_before_the_response() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b>"]}
        await send(hint)
        await send(start())
        await send(hint)
        with pytest.raises(ValueError, match="header value"):
            await send({"type": "http.response.early_hint", "links": [b"</a>\r\nx: y"]})
        await send({"type": "http.response.body", "body": b"o", "more_body": True})
        await send(hint)
        await send({"type": "http.response.body", "body": b"k"})

    async def main() -> None:
        async with serving(app) as address:
            async with await address.connect() as client:
                client.send(GET)
                for _ in range(2):
                    hints = await client.head()
                    assert hints.status == 103
                    assert hints.headers == [("link", "</a.css>; rel=preload"), ("link", "</b>")]
                response = await client.response()
                assert (response.status, response.body) == (200, b"ok")
            # HTTP/1.0 has no such responses.
            assert (await address.ask(b"GET / HTTP/1.0\r\n\r\n")).status == 200

    run(main())


def test_the_framework_sends_files_through_the_server(file: Path) -> None:
    app = FastAPI()
    app.mount("/static", StaticFiles(directory=file.parent))
    kinds: list[str] = []

    class Spy:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def spy(message: Any) -> None:
                kinds.append(message["type"])
                await send(message)

            await self.app(scope, receive, spy)

    app.add_middleware(Spy)

    @app.middleware("http")
    async def passes(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    @app.get("/file")
    def get_file() -> FileResponse:
        return FileResponse(file)

    async def main() -> None:
        async with serving(app) as address, await address.connect() as client:
            for path in (b"/file", b"/static/file.bin"):
                for field, status, expected in (
                    (b"", 200, CONTENT),
                    (b"Range: bytes=7-1000\r\n", 206, CONTENT[7:1001]),
                    (b"Range: bytes=-5\r\n", 206, CONTENT[-5:]),
                ):
                    kinds.clear()
                    client.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n")
                    response = await client.response()
                    assert (response.status, response.body) == (status, expected)
                    assert "http.response.pathsend" in kinds
                client.send(
                    b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nRange: bytes=1-2,9-9\r\n\r\n"
                )
                response = await client.response()
                assert response.status == 206
                assert CONTENT[1:3] in response.body

    run(main())


def test_what_no_server_should_implement_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert "http.response.debug" not in scope["extensions"]
        await send({"type": "http.response.debug", "info": {}})

    assert answer_of(app).status == 500
