"""Compressed responses and requests, with independent decoders."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pelton import _core
from pelton.web import FastAPI, Request
from pelton.web.middleware.compression import (
    CompressionMiddleware,
    RequestDecompressionMiddleware,
)
from pelton.web.responses import PlainTextResponse, Response, StreamingResponse
from pelton.web.testclient import TestClient
from tests.server.support import run, serving

TEXT = "".join(f"line {number} of some text\n" for number in range(300))


def unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


DECODERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.decompress),
    ("br", brotli.decompress),
    ("zstd", unzstd),
]


def make_app(**options: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(CompressionMiddleware, **options)

    @app.get("/text")
    def text() -> PlainTextResponse:
        return PlainTextResponse(TEXT, headers={"etag": '"abc"', "accept-ranges": "bytes"})

    @app.get("/short")
    def short() -> dict[str, str]:
        return {"a": "b"}

    @app.get("/with")
    def with_headers(request: Request) -> Response:
        return Response(TEXT, headers=dict(request.query_params))

    @app.get("/status/{status}")
    def status(status: int) -> Response:
        return Response(TEXT if status == 206 else None, status, media_type="text/plain")

    @app.get("/large")
    def large() -> PlainTextResponse:
        return PlainTextResponse(TEXT * 200)

    @app.get("/events")
    async def events() -> StreamingResponse:
        async def produce() -> AsyncIterator[str]:
            for number in range(3):
                yield f"data: {number}\n\n"

        return StreamingResponse(produce(), media_type="text/event-stream")

    return app


class Exchange:
    """One request to an ASGI app, and all that it sent."""

    def __init__(self, app: ASGIApp, path: str, accept: str | None, method: str = "GET") -> None:
        self.messages: list[Message] = []
        headers = [] if accept is None else [(b"accept-encoding", accept.encode())]
        path, _, query = path.partition("?")
        scope: Scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": headers,
        }

        requests: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Message:
            if requests:
                return requests.pop()
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

        async def send(message: Message) -> None:
            self.messages.append(message)

        async def main() -> None:
            await app(scope, receive, send)

        run(main())

    @property
    def headers(self) -> dict[str, str]:
        pairs = self.messages[0]["headers"]
        return {name.decode(): value.decode() for name, value in pairs}

    @property
    def pieces(self) -> list[bytes]:
        return [message["body"] for message in self.messages[1:]]


@pytest.mark.parametrize(("coding", "decode"), DECODERS)
def test_another_decoder_reads_it(coding: str, decode: Callable[[bytes], bytes]) -> None:
    exchange = Exchange(make_app(), "/text", coding)
    (body,) = exchange.pieces
    assert decode(body).decode() == TEXT
    assert len(body) < len(TEXT) / 4
    headers = exchange.headers
    assert headers["content-encoding"] == coding
    assert headers["content-length"] == str(len(body))
    assert headers["vary"] == "Accept-Encoding"
    assert headers["etag"] == 'W/"abc"'
    assert "accept-ranges" not in headers
    exchange = Exchange(make_app(), "/large", coding)
    assert decode(b"".join(exchange.pieces)).decode() == TEXT * 200
    exchange = Exchange(make_app(), "/events", coding)
    assert decode(b"".join(exchange.pieces)) == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


def test_each_event_can_be_read_when_it_comes() -> None:
    for coding in ("gzip", "br", "zstd"):
        exchange = Exchange(make_app(), "/events", coding)
        decoder = _core.BodyDecoder(coding, 1000)
        assert "content-length" not in exchange.headers
        assert [decoder.decode(piece) for piece in exchange.pieces[:3]] == [
            b"data: 0\n\n",
            b"data: 1\n\n",
            b"data: 2\n\n",
        ]
        assert decoder.decode(exchange.pieces[3]) + decoder.finish() == b""
    # gzip by another decoder, too.
    pieces = Exchange(make_app(), "/events", "gzip").pieces
    inflate = zlib.decompressobj(wbits=31)
    assert [inflate.decompress(piece) for piece in pieces[:2]] == [b"data: 0\n\n", b"data: 1\n\n"]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("gzip, br, zstd", "zstd"),
        ("gzip;q=1, br;q=0.5", "gzip"),
        ("br", "br"),
        ("identity", None),
        ("gzip;q=0", None),
        ("deflate", None),
        ("", None),
        (None, None),
    ],
)
def test_the_client_chooses(accept: str | None, expected: str | None) -> None:
    headers = Exchange(make_app(), "/text", accept).headers
    assert headers.get("content-encoding") == expected
    # A cache must know that it depends, even where it is not compressed this time.
    assert headers["vary"] == "Accept-Encoding"
    if expected is None:
        assert headers["etag"] == '"abc"'
        assert headers["content-length"] == str(len(TEXT))


def test_the_servers_own_order_and_levels() -> None:
    app = make_app(codings=["br", "gzip"], levels={"br": 11})
    best = Exchange(app, "/text", "gzip, br, zstd")
    assert best.headers["content-encoding"] == "br"
    fast = Exchange(make_app(codings=["br"], levels={"br": 0}), "/text", "br")
    assert len(best.pieces[0]) < len(fast.pieces[0])
    with pytest.raises(ValueError, match="no level 12"):
        CompressionMiddleware(app, levels={"br": 12})
    with pytest.raises(ValueError, match="codings is empty"):
        CompressionMiddleware(app, codings=[])


@pytest.mark.parametrize(
    "path",
    [
        "/short",
        "/with?content-type=image/png",
        "/with?content-type=",
        "/with?content-type=text/plain&content-encoding=br",
        "/with?content-type=text/plain&cache-control=private,%20No-Transform",
        "/with?content-type=text/plain&content-range=bytes%200-1/2",
        "/status/206",
        "/status/204",
        "/status/304",
    ],
)
def test_what_is_left_as_it_is(path: str) -> None:
    bare = Exchange(make_app(), path, "identity")
    exchange = Exchange(make_app(), path, "gzip, br, zstd")
    assert exchange.messages == bare.messages
    assert exchange.headers.get("content-encoding") in (None, "br")


def test_answers_to_head_and_types_by_suffix() -> None:
    app = make_app()
    head = Exchange(app, "/text", "gzip", method="HEAD")
    assert "content-encoding" not in head.headers
    for kind in ("application/problem+json", "image/svg+xml", "text/css;%20charset=utf-8"):
        exchange = Exchange(app, f"/with?content-type={kind.replace('+', '%2B')}", "gzip")
        assert exchange.headers["content-encoding"] == "gzip", kind


def test_a_message_that_is_no_body_is_passed_on() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.pathsend", "path": "/file"})

    exchange = Exchange(CompressionMiddleware(app), "/", "gzip")
    assert [message["type"] for message in exchange.messages] == [
        "http.response.start",
        "http.response.pathsend",
    ]
    assert "content-encoding" not in exchange.headers


def test_under_our_server() -> None:
    async def main() -> None:
        async with serving(make_app()) as address:
            response = await address.ask(
                b"GET /text HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"
            )
            assert gzip.decompress(response.body).decode() == TEXT
            response = await address.ask(
                b"GET /events HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"
            )
            assert gzip.decompress(response.body) == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"

    run(main())


def decompressing(max_size: int = 1000) -> TestClient:
    app = FastAPI()
    app.add_middleware(RequestDecompressionMiddleware, max_size=max_size)

    @app.post("/")
    async def echo(request: Request) -> dict[str, Any]:
        assert request.headers.get("content-encoding") in (None, "identity")
        return {"body": (await request.body()).decode()}

    @app.post("/json")
    async def typed(item: dict[str, int]) -> dict[str, int]:
        return item

    return TestClient(app)


def compressed(coding: str, data: bytes) -> bytes:
    encoder = _core.BodyEncoder(coding, 3)
    return encoder.encode(data) + encoder.finish()


def test_requests_are_decompressed() -> None:
    client = decompressing()
    bodies = {coding: compressed(coding, b"hello") for coding in ("gzip", "br", "zstd")}
    bodies |= {"x-gzip": gzip.compress(b"hello"), "deflate": zlib.compress(b"hello")}
    for coding, body in bodies.items():
        headers = {"content-encoding": coding.upper()}
        assert client.post("/", content=body, headers=headers).json() == {"body": "hello"}, coding
    response = client.post("/", content=b"plain", headers={"content-encoding": "identity"})
    assert response.json() == {"body": "plain"}
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    content = gzip.compress(json.dumps({"a": 1}).encode())
    assert client.post("/json", content=content, headers=headers).json() == {"a": 1}


def test_requests_that_are_refused() -> None:
    client = decompressing()

    def post(body: bytes, coding: str) -> tuple[int, Any]:
        response = client.post("/", content=body, headers={"content-encoding": coding})
        return response.status_code, response.json()["detail"]

    for coding in ("gzip", "br", "zstd"):
        response = client.post(
            "/", content=compressed(coding, b"x" * 1000), headers={"content-encoding": coding}
        )
        assert response.json() == {"body": "x" * 1000}
        bomb = compressed(coding, b"x" * 10_000_000)
        assert len(bomb) < 20_000
        assert post(bomb, coding) == (413, "Content Too Large")
        assert post(b"not at all", coding) == (400, f"The content is not valid {coding}")
        cut = compressed(coding, b"hello" * 9)[:-1]
        assert post(cut, coding) == (400, f"The content is not valid {coding}")
    assert post(b"", "compress") == (415, "Unsupported content encoding")
    assert post(b"", "gzip, br") == (415, "Unsupported content encoding")
