"""A pytest plugin under which Starlette's `TestClient` talks to our server over TCP.

The client keeps its face; what changes is the way of a request: through a real connection to
`pelton.server`, which runs in the loop where the client would have called the app. What the app
raises is read from the server's log, for `raise_server_exceptions`. What TCP cannot carry (the
client's made-up address, the code of a WebSocket that was never accepted, debug messages) is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import anyio.from_thread
import starlette.testclient
import websockets.exceptions
import websockets.sync.client

import pelton
from pelton._core import HttpServer
from pelton.server import Config

LIMIT = 20.0
"""Seconds that the server's side of a request may take longer than the client's."""

httpx: Any = starlette.testclient.httpx
_InMemory = starlette.testclient._TestClientTransport


class Raised(logging.Handler):
    """The exceptions that a server logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the record's exception."""
        if record.exc_info and record.exc_info[1] is not None:
            self.errors.append(record.exc_info[1])

    def reraise(self) -> None:
        """Raises the first one there was since the last time."""
        errors, self.errors = self.errors, []
        if errors:
            raise errors[0]


class Served:
    """An app behind a server in a portal's loop."""

    def __init__(self, portal: Any, app: Any, state: dict[str, Any], root_path: str) -> None:
        self.portal = portal
        self.raised = Raised()
        logging.getLogger("pelton.server").addHandler(self.raised)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.port: int = listener.getsockname()[1]
        self._server: Any = portal.call(self._start, app, state, root_path, listener.detach())

    @staticmethod
    def _start(app: Any, state: dict[str, Any], root_path: str, fd: int) -> Any:
        config = Config(root_path=root_path)
        server = HttpServer(asyncio.get_running_loop(), app, config, state)
        server.listen(fd)
        return server

    def settle(self) -> None:
        """Waits until no request's task runs any more, background tasks included."""
        end = time.monotonic() + LIMIT
        while self.portal.call(self._busy):
            if time.monotonic() > end:
                self.portal.call(self._server.abort)
                raise TimeoutError("a request goes on although its client is done")
            time.sleep(0.001)

    @staticmethod
    def _busy() -> bool:
        return any(task.get_name() == "pelton request" for task in asyncio.all_tasks())

    def close(self) -> None:
        """Ends the server, and what still runs in it."""
        with contextlib.suppress(RuntimeError):
            self.portal.call(self._end)
        logging.getLogger("pelton.server").removeHandler(self.raised)

    async def _end(self) -> None:
        idle = asyncio.Event()
        self._server.on_idle(idle.set)
        self._server.shutdown()
        self._server.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LIMIT):
                await idle.wait()


class SocketTransport(_InMemory):  # type: ignore[misc, valid-type]
    """Sends requests over TCP; those of a client on Trio in memory, as before."""

    def __init__(self, app: Any, **settings: Any) -> None:
        super().__init__(app, **settings)
        self._kept: Served | None = None

    def close(self) -> None:
        """Ends the server of a client that was entered."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def handle_request(self, request: Any) -> Any:
        """The response of the app's server."""
        if request.url.scheme in ("ws", "wss"):
            raise starlette.testclient._Upgrade(SocketSession(self, request))
        stack = contextlib.ExitStack()
        try:
            served = self.serve(stack)
            content = request.read()
            inner = stack.enter_context(httpx.HTTPTransport(retries=0))
            url = _without_root(request.url, self.root_path)
            response = inner.handle_request(_rewritten(request, url, served.port, content))
        except httpx.RemoteProtocolError:
            served.settle()
            served.raised.reraise()
            stack.close()
            raise
        except BaseException:
            stack.close()
            raise

        def finish() -> None:
            try:
                response.close()
                served.settle()
                if self.raise_server_exceptions:
                    served.raised.reraise()
                served.raised.errors.clear()
            finally:
                stack.close()

        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in response.headers.raw
            if name.lower() not in (b"date", b"server")
        ]
        return httpx.Response(
            response.status_code,
            headers=headers,
            stream=_Stream(response.stream, finish),
            request=request,
        )

    def serve(self, stack: contextlib.ExitStack) -> Served:
        """A server for one request, or the client's own while the client is entered."""
        portal = stack.enter_context(self.portal_factory())
        if self._kept is not None and self._kept.portal is portal:
            return self._kept
        served = Served(portal, self.app, self.app_state, self.root_path)
        if getattr(self.portal_factory, "__self__", None).portal is portal:
            self._kept = served
        else:
            stack.callback(served.close)
        return served


class _Stream(httpx.SyncByteStream):  # type: ignore[misc, name-defined]
    def __init__(self, stream: Any, finish: Callable[[], None]) -> None:
        self._stream = stream
        self._finish: Callable[[], None] | None = finish

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except httpx.RemoteProtocolError:
            # The server broke off: why is in its log.
            self.close()
            raise
        self.close()

    def close(self) -> None:
        finish, self._finish = self._finish, None
        if finish is not None:
            finish()


def _without_root(url: Any, root_path: str) -> Any:
    """The URL as a proxy would pass it on: our server puts the root path before it again."""
    if root_path and url.raw_path.startswith(root_path.encode() + b"/"):
        return url.copy_with(raw_path=url.raw_path[len(root_path.encode()) :])
    return url


def _rewritten(request: Any, url: Any, port: int, content: bytes) -> Any:
    url = url.copy_with(scheme="http", host="127.0.0.1", port=port)
    headers = [
        (name, value) for name, value in request.headers.raw if name.lower() != b"transfer-encoding"
    ]
    if not any(name.lower() == b"host" for name, _ in headers):
        headers.insert(0, (b"host", request.url.netloc))
    if not any(name.lower() == b"content-length" for name, _ in headers) and content:
        headers.append((b"content-length", str(len(content)).encode()))
    return httpx.Request(request.method, url, headers=headers, stream=httpx.ByteStream(content))


class SocketSession:
    """A WebSocket over TCP with the face of `WebSocketTestSession`."""

    def __init__(self, transport: SocketTransport, request: Any) -> None:
        self._transport = transport
        self._request = request
        self.accepted_subprotocol: str | None = None
        self.extra_headers: list[tuple[bytes, bytes]] | None = None

    def __enter__(self) -> SocketSession:
        with contextlib.ExitStack() as stack:
            self._served = self._transport.serve(stack)
            headers = self._request.headers
            protocols = headers.get("sec-websocket-protocol")
            dropped = ("connection", "upgrade", "host", "user-agent", "accept-encoding")
            kept = [
                (name, value)
                for name, value in headers.multi_items()
                if name not in dropped and not name.startswith("sec-websocket")
            ]
            sock = socket.create_connection(("127.0.0.1", self._served.port), timeout=LIMIT)
            url = _without_root(self._request.url, self._transport.root_path)
            url = url.copy_with(scheme="ws")
            try:
                self._socket = websockets.sync.client.connect(
                    str(url),
                    sock=sock,
                    additional_headers=kept,
                    subprotocols=[item.strip() for item in protocols.split(",")]  # type: ignore[misc]
                    if protocols
                    else None,
                    user_agent_header=headers.get("user-agent"),
                    compression=None,
                    open_timeout=LIMIT,
                    close_timeout=LIMIT,
                    proxy=None,
                )
            except websockets.exceptions.InvalidStatus as refused:
                sock.close()
                self._served.settle()
                self._served.raised.reraise()
                self._refuse(refused.response)
            stack.callback(self._leave)
            self.accepted_subprotocol = self._socket.subprotocol
            response = self._socket.response
            self.extra_headers = [
                (name.lower().encode(), value.encode())
                for name, value in (response.headers.raw_items() if response else ())
            ]
            self._stack = stack.pop_all()
        return self

    @staticmethod
    def _refuse(response: Any) -> None:
        if response.body:
            raise starlette.testclient.WebSocketDenialResponse(
                status_code=response.status_code,
                headers=list(response.headers.raw_items()),
                content=bytes(response.body),
            )
        raise starlette.testclient.WebSocketDisconnect(code=1000, reason="")

    def __exit__(self, *args: Any) -> Any:
        return self._stack.__exit__(*args)

    def _leave(self) -> None:
        self._socket.close()
        self._served.settle()
        self._served.raised.reraise()

    def send(self, message: Any) -> None:
        """Sends what the app shall receive."""
        if message["type"] == "websocket.disconnect":
            self.close(message.get("code", 1000), message.get("reason"))
            return
        text = message.get("text")
        self._socket.send(message["bytes"] if text is None else text)

    def send_text(self, data: str) -> None:
        """Sends a text message."""
        self._socket.send(data)

    def send_bytes(self, data: bytes) -> None:
        """Sends a binary message."""
        self._socket.send(data)

    send_json = starlette.testclient.WebSocketTestSession.send_json
    receive_text = starlette.testclient.WebSocketTestSession.receive_text
    receive_bytes = starlette.testclient.WebSocketTestSession.receive_bytes
    receive_json = starlette.testclient.WebSocketTestSession.receive_json
    _raise_on_close = starlette.testclient.WebSocketTestSession._raise_on_close

    def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Closes from the client's side."""
        self._socket.close(code, reason or "")

    def receive(self) -> dict[str, Any]:
        """The next message that the app sent, or that it closed."""
        try:
            data = self._socket.recv(timeout=LIMIT)
        except websockets.exceptions.ConnectionClosed as closed:
            self._served.settle()
            self._served.raised.reraise()
            frame = closed.rcvd
            code, reason = (frame.code, frame.reason) if frame else (1006, "")
            return {"type": "websocket.close", "code": code, "reason": reason}
        if isinstance(data, str):
            return {"type": "websocket.send", "text": data}
        return {"type": "websocket.send", "bytes": data}


def _with_our_loop(start: Any) -> Any:
    def start_blocking_portal(backend: str = "asyncio", **settings: Any) -> Any:
        if backend == "asyncio":
            options = dict(settings.pop("backend_options", None) or {})
            options.setdefault("loop_factory", pelton.new_event_loop)
            settings["backend_options"] = options
        return start(backend, **settings)

    return start_blocking_portal


_original_init = starlette.testclient.TestClient.__init__


def _init(self: Any, *args: Any, **settings: Any) -> None:
    _original_init(self, *args, **settings)
    if self.async_backend["backend"] != "asyncio":
        old = self._transport
        self._transport = _InMemory(
            old.app,
            portal_factory=old.portal_factory,
            raise_server_exceptions=old.raise_server_exceptions,
            root_path=old.root_path,
            app_state=old.app_state,
            client=old.client,
        )


starlette.testclient._TestClientTransport = SocketTransport  # type: ignore[misc]
starlette.testclient.TestClient.__init__ = _init  # type: ignore[method-assign]
anyio.from_thread.start_blocking_portal = _with_our_loop(  # type: ignore[assignment]
    anyio.from_thread.start_blocking_portal
)
