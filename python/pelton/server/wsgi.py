"""WSGI applications (PEP 3333) as ASGI ones: each call in a thread, bodies streamed both ways."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from pelton.server.daemons import DaemonExecutor

__all__ = ["WSGIApp"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LOOK_AROUND = 1.0
"""Seconds after which a thread that waits for the loop looks whether its request is over."""


class WSGIApp:
    """A WSGI application as an ASGI 3 application.

    `threads` calls run at once; further requests wait. WebSockets are refused. A call whose client
    has left learns of it when it next reads or writes: by a ConnectionError;
    one that does neither is left behind when the server has stopped.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], *, threads: int = 16) -> None:
        self._app = app
        self._pool = DaemonExecutor(threads, "pelton-wsgi")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            await self._serve(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._pool.shutdown(wait=False, cancel_futures=True)
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        bridge = _Bridge(loop)
        response = _Response(bridge, send)
        environ = _environ(scope, _Body(bridge, receive, has_body=_has_body(scope)))
        context = contextvars.copy_context()
        try:
            rest = await loop.run_in_executor(
                self._pool, context.run, _call, self._app, environ, response
            )
            await response.finish(rest)
        except ConnectionError:
            if not bridge.is_gone:
                raise
        finally:
            bridge.close()


class _Bridge:
    """From a thread into the loop, for one request."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._closed = threading.Event()
        self.is_gone = False
        """Whether the client has left."""

    def close(self) -> None:
        """The request is over: nobody waits in the loop any more."""
        self._closed.set()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """The coroutine's result, which the loop computes while this thread waits."""
        if self._closed.is_set() or self._loop.is_closed():
            coroutine.close()
            raise ConnectionAbortedError("the request is over")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        while True:
            try:
                return future.result(LOOK_AROUND)
            except concurrent.futures.CancelledError:
                raise ConnectionAbortedError("the request is over") from None
            except TimeoutError:
                if future.done():
                    raise  # the coroutine's own
                if self._closed.is_set():
                    future.cancel()
                    raise ConnectionAbortedError("the request is over") from None


class _Body:
    """`wsgi.input`: the request's body, read as the application asks for it."""

    def __init__(self, bridge: _Bridge, receive: Receive, *, has_body: bool) -> None:
        self._bridge, self._receive = bridge, receive
        self._waiting = bytearray()
        self._at = 0
        """How much of it is taken already: it is cut off once per piece, not once per line."""
        self._ended = not has_body

    def read(self, size: int | None = -1, /) -> bytes:
        """`size` bytes, fewer at the body's end; all of it without a size."""
        wanted = sys.maxsize if size is None or size < 0 else size
        while len(self._waiting) - self._at < wanted and self._more():
            pass
        return self._take(wanted)

    def readline(self, size: int | None = -1, /) -> bytes:
        """A line with its end; of a longer one, `size` bytes."""
        limit = sys.maxsize if size is None or size < 0 else size
        seen = 0
        while (end := self._waiting.find(b"\n", self._at + seen, self._at + limit)) < 0:
            seen = len(self._waiting) - self._at
            if seen >= limit or not self._more():
                return self._take(limit)
        return self._take(end + 1 - self._at)

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """The lines that are left, or those of about `hint` bytes."""
        lines: list[bytes] = []
        length = 0
        for line in self:
            lines.append(line)
            length += len(line)
            if hint is not None and 0 < hint <= length:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _take(self, size: int) -> bytes:
        with memoryview(self._waiting) as view:
            taken = bytes(view[self._at : self._at + size])
        self._at += len(taken)
        return taken

    def _more(self) -> bool:
        """Waits for the next piece; False at the body's end."""
        if self._ended:
            return False
        message = self._bridge.run(_await(self._receive()))
        if message["type"] == "http.disconnect":
            self._bridge.is_gone = self._ended = True
            raise ConnectionResetError("the client left before its request was complete")
        del self._waiting[: self._at]  # cheap: a bytearray moves its start
        self._at = 0
        self._waiting += message.get("body", b"")
        self._ended = not message.get("more_body", False)
        return True


class _Response:
    """`start_response`, `write`, and what becomes of the application's chunks."""

    def __init__(self, bridge: _Bridge, send: Send) -> None:
        self._bridge, self._send = bridge, send
        self._start: Message | None = None
        self._sent = False

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], None]:
        """`start_response` of PEP 3333."""
        if exc_info is not None:
            try:
                if self._sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no cycle with this frame
        elif self._start is not None:
            raise AssertionError("start_response was called twice, and without exc_info")
        self._start = {
            "type": "http.response.start",
            "status": int(status[:3]),
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
            ],
        }
        return self.write

    def write(self, data: bytes) -> None:
        """Sends a piece of the body, and waits until there is room for it."""
        if data:
            self._bridge.run(self._pass_on(data, more=True))

    def needs_length(self) -> bool:
        """Whether the application left it to the server to say how long the response is."""
        start = self._begun()
        return not any(name == b"content-length" for name, _ in start["headers"])

    def set_length(self, length: int) -> None:
        """Says it."""
        self._begun()["headers"].append((b"content-length", str(length).encode()))

    async def finish(self, data: bytes) -> None:
        """Sends the last piece. In the loop."""
        await self._pass_on(data, more=False)

    async def _pass_on(self, data: bytes, *, more: bool) -> None:
        try:
            if not self._sent:
                start = self._begun()
                self._sent = True
                await self._send(start)
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
        except OSError as error:
            self._bridge.is_gone = True
            raise ConnectionAbortedError("the client left") from error

    def _begun(self) -> Message:
        if self._start is None:
            raise AssertionError("the application gave a body before it called start_response")
        return self._start


def _call(
    app: Callable[..., Iterable[bytes]], environ: dict[str, Any], response: _Response
) -> bytes:
    """Calls the application in this thread. Returns what is left to send."""
    chunks = app(environ, response.start)
    try:
        # A list of one is the whole body: it can leave together with the head.
        if isinstance(chunks, list | tuple) and len(chunks) == 1:
            if response.needs_length():
                response.set_length(len(chunks[0]))
            return chunks[0]
        for chunk in chunks:
            # PEP 3333: no piece waits for the next one.
            response.write(chunk)
        return b""
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


def _has_body(scope: Scope) -> bool:
    names = {name for name, _ in scope["headers"]}
    # HTTP/2 has neither where a body of unknown length follows.
    framed = b"content-length" in names or b"transfer-encoding" in names
    return framed or not scope["http_version"].startswith("1")


def _environ(scope: Scope, body: _Body) -> dict[str, Any]:
    root: str = scope.get("root_path", "")
    raw_path = scope.get("raw_path") or scope["path"].encode()
    path = unquote_to_bytes(raw_path).decode("latin-1")
    script = root.encode().decode("latin-1")
    server = scope.get("server") or ("localhost", None)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": script,
        "PATH_INFO": path.removeprefix(script),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1] or (443 if scope["scheme"] == "https" else 80)),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if scope.get("client"):
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = map(str, scope["client"])
    _add_headers(environ, scope["headers"])
    return environ


def _add_headers(environ: dict[str, Any], headers: Iterable[tuple[bytes, bytes]]) -> None:
    for raw_name, raw_value in headers:
        # `x_user` would become the same variable as `x-user`, which a proxy may vouch for.
        if b"_" in raw_name:
            continue
        name = raw_name.decode("latin-1").upper().replace("-", "_")
        value = raw_value.decode("latin-1")
        if name not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            name = f"HTTP_{name}"
        if name in environ:
            value = f"{environ[name]}{'; ' if name == 'HTTP_COOKIE' else ','}{value}"
        environ[name] = value


async def _await(awaitable: Awaitable[Message]) -> Message:
    """As a coroutine: `receive` may return any awaitable."""
    return await awaitable
