"""WebSockets over HTTP/2 streams: RFC 8441."""

from __future__ import annotations

import asyncio
import logging
import zlib
from typing import Any

import pytest

from pelton.server import stats
from tests.server.http2_support import Fields, Http2Client, forget_servers, http2
from tests.server.support import Address, Receive, Scope, Send, run, serving

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame in one piece; its mask changes nothing."""
    length = len(payload)
    if length < 126:
        head = bytes([0x80 | opcode, 0x80 | length])
    else:
        head = bytes([0x80 | opcode, 0x80 | 126]) + length.to_bytes(2)
    return head + b"\0\0\0\0" + payload


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """A server's frames, as far as they are complete."""
    found = []
    while len(data) >= 2:
        start, length = 2, data[1]
        if length == 126:
            start, length = 4, int.from_bytes(data[2:4])
        if len(data) < start + length:
            break
        found.append((data[0] & 0xF, data[start : start + length]))
        data = data[start + length :]
    return found


def connect(client: Http2Client, path: str = "/", more: Fields | None = None) -> int:
    """Asks for a WebSocket."""
    return client.open(
        [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("sec-websocket-version", "13"),
            *(more or []),
        ]
    )


def say(client: Http2Client, stream: int, *data: bytes) -> None:
    client.h2.send_data(stream, b"".join(data))
    client.flush()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        answer = {"type": "websocket.send", **message}
        answer["type"] = "websocket.send"
        await send(answer)


def test_messages_in_both_directions() -> None:
    async def main() -> None:
        async with serving(echo) as address, http2(address) as client:
            await client.until(lambda: bool(client.settings))
            assert client.settings[8] == 1
            stream = connect(client)
            answer = client.answers[stream]
            await client.until(lambda: bool(answer.headers))
            assert answer.status == 200
            assert answer.header("sec-websocket-accept") is None
            assert answer.header("content-length") is None
            say(client, stream, frame(TEXT, b"hello"), frame(BINARY, b"\0" * 1000))
            await client.until(lambda: len(frames(answer.body)) == 2)
            assert frames(answer.body) == [(TEXT, b"hello"), (BINARY, b"\0" * 1000)]
            say(client, stream, frame(PING, b"?"))
            await client.until(lambda: len(frames(answer.body)) == 3)
            assert frames(answer.body)[2] == (PONG, b"?")
            say(client, stream, frame(CLOSE, b"\x03\xe8bye"))
            await client.answer(stream)
            assert frames(answer.body)[3] == (CLOSE, b"\x03\xe8bye")
            assert answer.ended

    run(main())


def test_the_scope_and_the_subprotocol() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "two", "headers": [(b"x-a", b"b")]})
        await send({"type": "websocket.close", "code": 4001})

    async def main() -> None:
        async with serving(app) as address, http2(address) as client:
            stream = connect(client, "/a?q=1", [("sec-websocket-protocol", "one, two")])
            answer = client.answers[stream]
            await client.until(lambda: bool(frames(answer.body)))
            assert frames(answer.body) == [(CLOSE, b"\x0f\xa1")]
            assert answer.header("sec-websocket-protocol") == "two"
            assert answer.header("x-a") == "b"
            (scope,) = scopes
            assert scope["http_version"] == "2"
            assert (scope["scheme"], scope["path"], scope["query_string"]) == ("ws", "/a", b"q=1")
            assert scope["subprotocols"] == ["one", "two"]
            assert "method" not in scope

    run(main())


async def denied(address: Address, more: Fields | None = None) -> tuple[int, bytes]:
    async with http2(address) as client:
        answer = await client.answer(connect(client, "/", more))
        return answer.status, answer.body


def test_denied() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close"})

    async def explain(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"who are you"})

    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("trouble")

    async def main() -> None:
        apps: list[tuple[Any, tuple[int, bytes]]] = [
            (refuse, (403, b"")),
            (explain, (401, b"who are you")),
            (fail, (500, b"")),
        ]
        for app, expected in apps:
            async with serving(app) as address:
                assert await denied(address) == expected

    logging.getLogger("pelton.server").setLevel(logging.CRITICAL)
    try:
        run(main())
    finally:
        logging.getLogger("pelton.server").setLevel(logging.NOTSET)


def test_another_version() -> None:
    async def main() -> None:
        async with serving(echo) as address, http2(address) as client:
            stream = client.open(
                [
                    (":method", "CONNECT"),
                    (":protocol", "websocket"),
                    (":scheme", "http"),
                    (":path", "/"),
                    (":authority", "localhost"),
                    ("sec-websocket-version", "8"),
                ]
            )
            answer = await client.answer(stream)
            assert (answer.status, answer.header("sec-websocket-version")) == (426, "13")

    run(main())


@pytest.mark.parametrize("how", ["reset", "end", "connection"])
def test_a_client_that_leaves(how: str) -> None:
    ended = asyncio.Event()
    codes: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        codes.append(message["code"])
        ended.set()

    async def main() -> None:
        async with serving(app) as address:
            async with http2(address) as client:
                stream = connect(client)
                await client.until(lambda: bool(client.answers[stream].headers))
                if how == "reset":
                    client.h2.reset_stream(stream, 8)
                elif how == "end":
                    client.h2.end_stream(stream)
                client.flush()
                if how != "connection":
                    await ended.wait()
            await ended.wait()
            assert codes == [1006]
            # The app ended in the step that set the event.
            assert stats()["open_websockets"] == 0

    forget_servers()
    run(main())


def test_sockets_and_requests_share_a_connection() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await echo(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"plain"})

    async def main() -> None:
        async with serving(app) as address, http2(address) as client:
            streams = [connect(client) for _ in range(10)]
            for stream in streams:
                await client.until(lambda stream=stream: bool(client.answers[stream].headers))
            for stream in streams:
                say(client, stream, frame(TEXT, str(stream).encode()))
            assert (await client.ask("GET", "/")).body == b"plain"
            for stream in streams:
                answer = client.answers[stream]
                await client.until(lambda answer=answer: bool(frames(answer.body)))
                assert frames(answer.body) == [(TEXT, str(stream).encode())]

    run(main())


def test_a_stop_closes_with_1012() -> None:
    async def main() -> None:
        async with serving(echo) as address, http2(address) as client:
            stream = connect(client)
            answer = client.answers[stream]
            await client.until(lambda: bool(answer.headers))
            address.server.stop()
            await client.until(lambda: bool(frames(answer.body)))
            assert frames(answer.body)[0][1][:2] == (1012).to_bytes(2)
            say(client, stream, frame(CLOSE, b"\x03\xf4"))
            await client.closed()

    run(main())


def test_a_slow_app_shuts_the_window() -> None:
    go = asyncio.Event()
    received: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await go.wait()
        while (message := await receive())["type"] == "websocket.receive":
            received.append(len(message["bytes"]))
        assert message["code"] == 1000

    async def main() -> None:
        async with serving(app, ws_max_queue=2) as address, http2(address) as client:
            stream = connect(client)
            answer = client.answers[stream]
            await client.until(lambda: bool(answer.headers))
            message = frame(BINARY, b"x" * 10_000)
            sent = 0
            while client.h2.local_flow_control_window(stream) > len(message):
                say(client, stream, message)
                sent += 1
            assert 10 < sent < 30
            go.set()
            needed = len(frame(CLOSE, b"\x03\xe8"))
            await client.until(lambda: client.h2.local_flow_control_window(stream) > 50_000)
            assert client.h2.local_flow_control_window(stream) > needed
            say(client, stream, frame(CLOSE, b"\x03\xe8"))
            await client.answer(stream)
            assert received == [10_000] * sent

    run(main())


def test_compression() -> None:
    async def main() -> None:
        async with serving(echo) as address, http2(address) as client:
            offer = ("sec-websocket-extensions", "permessage-deflate")
            stream = connect(client, "/", [offer])
            answer = client.answers[stream]
            await client.until(lambda: bool(answer.headers))
            agreed = answer.header("sec-websocket-extensions")
            assert agreed is not None
            assert agreed.startswith("permessage-deflate")
            text = b"again and " * 500
            say(client, stream, frame(TEXT, text))
            await client.until(lambda: bool(frames(answer.body)))
            # FIN, RSV1 and the opcode; the payload is raw deflate without its last four bytes.
            assert answer.body[0] == 0xC1
            ((_, payload),) = frames(answer.body)
            assert len(payload) < 200
            inflated = zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")
            assert inflated == text

    run(main())
