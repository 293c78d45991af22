"""Compression of responses and decompression of requests, in Rust."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pelton import _core

__all__ = ["CompressionMiddleware", "RequestDecompressionMiddleware"]

Coding = Literal["zstd", "br", "gzip"]

DEFAULT_LEVELS: Mapping[Coding, int] = {"zstd": 3, "br": 4, "gzip": 6}
"""What each coding does well without holding the loop for long."""

DEFAULT_TYPES = (
    "text/",
    "application/json",
    "application/javascript",
    "application/jsonl",
    "application/manifest+json",
    "application/rss+xml",
    "application/wasm",
    "application/x-ndjson",
    "application/xhtml+xml",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/svg+xml",
    "image/x-icon",
)
"""Content types that grow smaller; `application/*+json` and `+xml` do as well."""

_AT_ONCE = 256 * 1024
"""Bytes compressed before others have their turn on the loop."""

_BODILESS = {204, 205, 206, 304}


class CompressionMiddleware:
    """Compresses responses by zstd, br or gzip, whichever the client weighs highest.

    `codings` are those offered, the preferred first; `levels` replaces single `DEFAULT_LEVELS`.
    Compressed is what has a content type that begins as one of `content_types` and is not shorter
    than `minimum_size` bytes, or whose length is not known. A response that streams is flushed
    with each piece, so that events and lines arrive when they are sent.

    Left as they are: what has a `content-encoding`, `cache-control: no-transform` or a
    `content-range`, answers to HEAD, and files that the server sends by itself. An `etag` becomes
    a weak one, `content-length` goes or is corrected, and `vary` names `accept-encoding`.

    Beware where a page holds both a secret and what an attacker chose (BREACH): leave such routes
    out. Starlette's `GZipMiddleware` is unchanged beside it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        codings: Sequence[Coding] = ("zstd", "br", "gzip"),
        levels: Mapping[Coding, int] | None = None,
        minimum_size: int = 500,
        content_types: Sequence[str] = DEFAULT_TYPES,
    ) -> None:
        if not codings:
            raise ValueError("codings is empty: name at least one of zstd, br and gzip")
        self.app = app
        self.levels = {coding: {**DEFAULT_LEVELS, **(levels or {})}[coding] for coding in codings}
        for coding, level in self.levels.items():
            _core.BodyEncoder(coding, level)  # Refuses what there is not.
        self.codings = list(codings)
        self.minimum_size = minimum_size
        self.content_types = tuple(content_types)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs `app` with a `send` that compresses."""
        if scope["type"] != "http" or scope["method"] == "HEAD":
            await self.app(scope, receive, send)
            return
        accept = [value for name, value in scope["headers"] if name == b"accept-encoding"]
        coding = _core.negotiate_coding(accept, list(self.codings))
        await self.app(scope, receive, _Response(self, coding, send))

    def suits(self, message: Message) -> bool:
        """Whether a response's head allows its body to be compressed."""
        status = message["status"]
        headers = Headers(raw=list(message.get("headers", ())))
        if status < 200 or status in _BODILESS:
            return False
        if "content-encoding" in headers or "content-range" in headers:
            return False
        if "no-transform" in headers.get("cache-control", "").lower():
            return False
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        return kind.startswith(self.content_types) or (
            kind.startswith("application/") and kind.endswith(("+json", "+xml"))
        )


class _Response:
    """The `send` of one request."""

    def __init__(self, options: CompressionMiddleware, coding: str | None, send: Send) -> None:
        self.options = options
        self.coding = coding
        self.send = send
        self.start: Message | None = None
        self.encoder: _core.BodyEncoder | None = None

    async def __call__(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start" and self.options.suits(message):
            # Held back: the first piece of the body tells whether it is worth it.
            self.start = {**message, "headers": list(message.get("headers", ()))}
            MutableHeaders(raw=self.start["headers"]).add_vary_header("Accept-Encoding")
        elif kind != "http.response.body":
            await self._let_go()
            await self.send(message)
        elif self.start is not None:
            await self._begin(self.start, message)
        elif self.encoder is not None:
            await self._go_on(message, self.encoder)
        else:
            await self.send(message)

    async def _begin(self, start: Message, message: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if self.coding is None or (not more and len(body) < self.options.minimum_size):
            await self._let_go()
            await self.send(message)
            return
        encoder = _core.BodyEncoder(self.coding, self.options.levels[self.coding])  # type: ignore[index]
        headers = MutableHeaders(raw=start["headers"])
        headers["content-encoding"] = self.coding
        del headers["accept-ranges"]
        etag = headers.get("etag")
        if etag is not None and not etag.startswith("W/"):
            headers["etag"] = f"W/{etag}"
        self.start = None
        if more:
            del headers["content-length"]
            self.encoder = encoder
            await self.send(start)
            await self._go_on(message, encoder)
            return
        compressed = await _encode(encoder, body) + encoder.finish()
        headers["content-length"] = str(len(compressed))
        await self.send(start)
        await self.send({**message, "body": compressed})

    async def _go_on(self, message: Message, encoder: _core.BodyEncoder) -> None:
        more = message.get("more_body", False)
        compressed = await _encode(encoder, message.get("body", b""))
        compressed += encoder.flush() if more else encoder.finish()
        await self.send({**message, "body": compressed})

    async def _let_go(self) -> None:
        start, self.start = self.start, None
        if start is not None:
            await self.send(start)


async def _encode(encoder: _core.BodyEncoder, body: bytes | bytearray | memoryview) -> bytes:
    """Compresses a body, letting others run in between if it is large."""
    if len(body) <= _AT_ONCE:
        return encoder.encode(bytes(body))
    view = memoryview(body)
    parts = []
    for start in range(0, len(view), _AT_ONCE):
        parts.append(encoder.encode(bytes(view[start : start + _AT_ONCE])))
        await asyncio.sleep(0)
    return b"".join(parts)


class RequestDecompressionMiddleware:
    """Decompresses request bodies that are sent with a `content-encoding`: zstd, br, gzip, deflate.

    `max_size` is how many bytes may come out of a body, so that a small request cannot become a
    large one in memory; more is answered 413. A body that is not in its coding is answered 400,
    and an unknown coding, or more than one, 415. `app` sees neither `content-encoding` nor the
    `content-length` of what was sent.
    """

    def __init__(self, app: ASGIApp, *, max_size: int = 16 * 1024 * 1024) -> None:
        self.app = app
        self.max_size = max_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs `app` with a `receive` that decompresses."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        named = ",".join(
            value.decode("latin-1")
            for name, value in scope["headers"]
            if name == b"content-encoding"
        )
        codings = [coding.strip().lower() for coding in named.split(",")]
        codings = [coding for coding in codings if coding not in ("", "identity")]
        if not codings:
            await self.app(scope, receive, send)
            return
        try:
            (coding,) = codings
            decoder = _core.BodyDecoder(coding, self.max_size)
        except ValueError:
            await _refuse(send)
            return
        hidden = (b"content-encoding", b"content-length")
        headers = [(name, value) for name, value in scope["headers"] if name not in hidden]
        await self.app({**scope, "headers": headers}, _Request(decoder, receive), send)


class _Request:
    """The `receive` of one request."""

    def __init__(self, decoder: _core.BodyDecoder, receive: Receive) -> None:
        self.decoder = decoder
        self.receive = receive
        self.is_complete = False

    async def __call__(self) -> Message:
        message = await self.receive()
        if message["type"] != "http.request" or self.is_complete:
            return message
        try:
            body = self.decoder.decode(message.get("body", b""))
            if not message.get("more_body", False):
                self.is_complete = True
                body += self.decoder.finish()
        except _core.BodyTooLarge as error:
            raise HTTPException(status_code=413, detail="Content Too Large") from error
        except ValueError as error:
            raise HTTPException(status_code=400, detail=str(error).capitalize()) from error
        return {**message, "body": body}


async def _refuse(send: Send) -> None:
    """415, with what would have been understood."""
    body = b'{"detail":"Unsupported content encoding"}'
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"accept-encoding", b"zstd, br, gzip, deflate"),
    ]
    await send({"type": "http.response.start", "status": 415, "headers": headers})
    await send({"type": "http.response.body", "body": body})
