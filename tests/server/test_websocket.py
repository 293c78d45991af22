"""WebSockets, with the `websockets` package as the client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pelton.server import stats
from tests.server.http2_support import forget_servers
from tests.server.support import Address, Message, Receive, Scope, Send, run, serving


def url(address: Address, path: str = "/") -> str:
    return f"ws://{address.host}:{address.port}{path}"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts, and sends back what comes."""
    assert scope["type"] == "websocket"
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


@pytest.mark.parametrize("message", ["", "text", "é\U0001f600", b"\x00\xff", "x" * 70_000])
def test_messages_both_ways(message: str | bytes) -> None:
    async def main() -> None:
        async with serving(echo) as address, connect(url(address)) as client:
            await client.send(message)
            assert await client.recv() == message
            await client.send([message, message])
            assert await client.recv() == message * 2

    run(main())


def test_many_messages_keep_their_order() -> None:
    async def main() -> None:
        async with serving(echo) as address, connect(url(address), max_queue=None) as client:
            for number in range(500):
                await client.send(str(number))
            assert [await client.recv() for _ in range(500)] == [str(n) for n in range(500)]

    run(main())


def test_the_scope_and_the_accepted_subprotocol() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await receive()
        accept = {"type": "websocket.accept", "subprotocol": "two", "headers": [(b"x-a", b"1")]}
        await send(accept)
        await receive()

    async def main() -> None:
        async with (
            serving(app, root_path="/api") as address,
            connect(url(address, "/ws?q=1"), subprotocols=["one", "two"]) as client,  # type: ignore[list-item]
        ):
            assert client.subprotocol == "two"
            assert client.response is not None
            assert client.response.headers["x-a"] == "1"

    run(main())
    (scope,) = scopes
    assert scope["subprotocols"] == ["one", "two"]
    assert (scope["scheme"], scope["path"], scope["query_string"]) == ("ws", "/api/ws", b"q=1")
    assert "websocket.http.response" in scope["extensions"]
    assert "method" not in scope


def test_the_clients_close_is_a_disconnect() -> None:
    seen: list[Message] = []
    over = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        seen.append(await receive())
        with pytest.raises(OSError, match="disconnected"):
            await send({"type": "websocket.send", "text": "too late"})
        over.set()

    async def main() -> None:
        async with serving(app) as address:
            async with connect(url(address)) as client:
                await client.close(3000, "bye")
            await over.wait()

    run(main())
    assert seen == [{"type": "websocket.disconnect", "code": 3000, "reason": "bye"}]


def test_a_client_that_vanishes_is_a_disconnect() -> None:
    seen: list[Message] = []
    over = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        seen.append(await receive())
        over.set()

    async def main() -> None:
        async with serving(app) as address, connect(url(address)) as client:
            client.transport.abort()
            await over.wait()

    run(main())
    assert [(message["type"], message["code"]) for message in seen] == [
        ("websocket.disconnect", 1006)
    ]


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ({"type": "websocket.close", "code": 3001, "reason": "over"}, 3001),
        ({"type": "websocket.close"}, 1000),
        (None, 1000),
        (RuntimeError("broken"), 1011),
    ],
)
def test_the_applications_end_closes(
    ending: Any, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if isinstance(ending, Exception):
            raise ending
        if ending is not None:
            await send(ending)

    async def main() -> None:
        async with serving(app) as address, connect(url(address)) as client:
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == code

    run(main())
    assert ("broken" in caplog.text) == isinstance(ending, Exception)


@pytest.mark.parametrize(
    ("messages", "status", "body"),
    [
        ([{"type": "websocket.close"}], 403, b""),
        (
            [
                {"type": "websocket.http.response.start", "status": 401, "headers": []},
                {"type": "websocket.http.response.body", "body": b"who "},
                {"type": "websocket.http.response.body", "body": b"are you"},
            ],
            401,
            b"who are you",
        ),
        ([], 500, b""),
    ],
)
def test_a_refused_handshake(messages: list[Message], status: int, body: bytes) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for number, message in enumerate(messages):
            more = {"more_body": number < len(messages) - 1} if "body" in message else {}
            await send({**message, **more})

    async def main() -> None:
        async with serving(app) as address:
            with pytest.raises(InvalidStatus) as refused:
                await connect(url(address))
            assert refused.value.response.status_code == status
            assert (refused.value.response.body or b"") == body

    run(main())


def test_a_message_above_the_limit_closes_with_1009() -> None:
    async def main() -> None:
        async with serving(echo, ws_max_message=1000) as address, connect(url(address)) as client:
            await client.send("x" * 1000)
            assert await client.recv() == "x" * 1000
            await client.send("x" * 1001)
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009

    run(main())


def test_pings_are_sent_and_silent_clients_dropped() -> None:
    seen: list[Message] = []
    over = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        seen.append(await receive())
        over.set()

    async def main() -> None:
        options = {"ws_ping_interval": 0.05, "ws_ping_timeout": 0.05}
        async with serving(app, **options) as address, await address.connect() as client:
            client.send(
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert (await client.head()).status == 101
            assert (await client.reader.readexactly(2))[0] == 0x89
            await over.wait()

    run(main())
    assert seen[0]["code"] == 1006


def test_a_wrong_version_is_told_the_right_one() -> None:
    async def main() -> None:
        async with serving(echo) as address:
            response = await address.ask(
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert (response.status, response.header("sec-websocket-version")) == (426, "13")

    run(main())


def test_stopping_closes_with_1012() -> None:
    async def main() -> None:
        async with serving(echo) as address, connect(url(address)) as client:
            await client.send("hi")
            assert await client.recv() == "hi"
            address.server.stop()
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012

    run(main())


def reentrant_key(send: Callable[[], None]) -> str:
    """A key that is equal to "bytes" and sends when it is compared."""

    class Key(str):
        def __eq__(self, other: object) -> bool:
            send()
            return other == "bytes"

        __hash__ = str.__hash__

    return Key("bytes")


def reentrant_buffer(send: Callable[[], None]) -> Any:
    """An object whose bytes are `last`, and which sends when it is asked for them."""

    class Buffer:
        def __buffer__(self, flags: int) -> memoryview:
            send()
            return memoryview(b"last")

    return Buffer()


@pytest.mark.parametrize(
    "kind",
    [
        "key",
        pytest.param(
            "buffer",
            marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="PEP 688 is of 3.12"),
        ),
    ],
)
def test_a_message_that_sends_another_while_it_is_read(kind: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})

        def first() -> None:
            # `send` takes the message when it is called.
            send({"type": "websocket.send", "text": "first"}).close()  # type: ignore[attr-defined]

        if kind == "key":
            message: Message = {"type": "websocket.send", reentrant_key(first): b"last"}
        else:
            message = {"type": "websocket.send", "bytes": reentrant_buffer(first)}
        await send(message)
        await receive()

    async def main() -> None:
        forget_servers()
        async with serving(app) as address, connect(url(address)) as client:
            assert await client.recv() == "first"
            while (received := await client.recv()) == "first":
                pass  # a dict may compare a key more than once
            assert received == b"last"
            assert stats()["panics"] == 0

    run(main())
