"""HTTP over real sockets: what a raw client sees."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.server.support import Message, Receive, Scope, Send, read_body, reply, run, serving

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was asked."""
    body = await read_body(receive)
    asked = {"method": scope["method"], "path": scope["path"], "body": body.decode()}
    await reply(send, json.dumps(asked).encode(), 200, (b"content-type", b"application/json"))


def test_a_request_and_its_response() -> None:
    async def main() -> None:
        async with serving(echo) as address:
            response = await address.ask(GET)
            assert response.status == 200
            assert json.loads(response.body) == {"method": "GET", "path": "/", "body": ""}
            assert response.header("server") == "pelton"
            assert response.header("date") is not None
            assert [name for name, _ in response.headers].count("content-length") == 1

    run(main())


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ],
)
def test_bodies_of_both_kinds_byte_by_byte(body: bytes) -> None:
    async def main() -> None:
        async with serving(echo) as address, await address.connect() as client:
            for byte in b"POST /p HTTP/1.1\r\nHost: a\r\n" + body:
                client.send(bytes([byte]))
                await client.writer.drain()
            response = await client.response()
            assert json.loads(response.body)["body"] == "hello"

    run(main())


def test_pipelined_responses_keep_their_order() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/0":
            # The first is the slowest.
            for _ in range(20):
                await asyncio.sleep(0)
        await reply(send, scope["path"].encode())

    async def main() -> None:
        async with serving(app) as address, await address.connect() as client:
            client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(500)))
            for number in range(500):
                assert (await client.response()).body == b"/%d" % number

    run(main())


def test_a_large_body_flows_both_ways() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            assert len(message["body"]) <= 64 * 1024
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    async def main() -> None:
        data = bytes(range(256)) * 20_000
        async with serving(app) as address, await address.connect() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(data))
            client.send(data)
            assert (await client.response()).body == data

    run(main())


def test_send_waits_for_a_client_that_does_not_read() -> None:
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200})
        while sent < 64:
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
            sent += 1
        await send({"type": "http.response.body"})

    async def main() -> None:
        async with serving(app) as address, await address.connect(1 << 16) as client:
            # The stream reader takes 128 KiB by itself, the kernels some MiB: not 64.
            client.send(GET)
            await client.head()
            seen = -1
            while seen != sent:
                seen = sent
                await asyncio.sleep(0.1)
            assert sent < 64
            total = 0
            async for chunk in client.chunks():
                total += len(chunk)
            assert total == 64 << 20

    run(main())


def test_receive_reads_no_more_than_the_application_takes() -> None:
    taken = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await taken.wait()
        await read_body(receive)
        await reply(send, b"done")

    async def main() -> None:
        size = 16 << 20
        async with serving(app) as address, await address.connect() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            client.send(bytes(size))
            left = -1
            while left != client.writer.transport.get_write_buffer_size():
                left = client.writer.transport.get_write_buffer_size()
                await asyncio.sleep(0.1)
            assert left > 0
            taken.set()
            assert (await client.response()).body == b"done"

    run(main())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n", 413),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ],
)
def test_bad_requests_never_reach_the_application(request_: bytes, status: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it should not be called")

    async def main() -> None:
        async with serving(app, max_body=1000) as address, await address.connect() as client:
            client.send(request_)
            response = await client.response()
            assert response.status == status
            assert response.header("connection") == "close"
            assert await client.closed()

    run(main())


def test_a_chunked_body_over_the_limit_ends_the_request() -> None:
    seen: list[Message] = []

    async def main() -> None:
        called = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            while not seen or seen[-1]["type"] != "http.disconnect":
                seen.append(await receive())
                called.set()
            with pytest.raises(OSError, match="disconnected"):
                await reply(send)

        async with serving(app, max_body=1000) as address, await address.connect() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.send(b"100\r\n" + bytes(256) + b"\r\n")
            await called.wait()
            client.send(b"fff\r\n")
            assert (await client.response()).status == 413
        assert seen[-1]["type"] == "http.disconnect"

    run(main())


def test_timeouts() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        while message["type"] == "http.request" and message["more_body"]:
            message = await receive()

    async def main() -> None:
        options = {"head_timeout": 0.1, "body_timeout": 0.1, "keep_alive": 0.1}
        async with serving(app, **options) as address:
            assert (await address.ask(b"GET / HTT")).status == 408
            post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab"
            assert (await address.ask(post)).status == 408
            async with await address.connect() as client:
                assert await client.closed()

    run(main())


def test_expect_continue_is_answered_when_the_body_is_wanted() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/wanted":
            await reply(send, await read_body(receive))
        else:
            await reply(send, b"no", 403)

    async def main() -> None:
        head = b" HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        async with serving(app) as address, await address.connect() as client:
            client.send(b"POST /wanted" + head)
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(b"hi")
            assert (await client.response()).body == b"hi"
            client.send(b"POST /other" + head)
            response = await client.response()
            assert (response.status, response.header("connection")) == (403, "close")
            assert await client.closed()

    run(main())


def test_head_http10_and_close() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "http.response.body", "body": scope["http_version"].encode()})

    async def main() -> None:
        async with serving(app) as address:
            assert (await address.ask(GET)).body == b"one 1.1"
            async with await address.connect() as client:
                client.send(b"GET / HTTP/1.0\r\n\r\n")
                response = await client.response()
                assert response.header("transfer-encoding") is None
                assert response.body == b"one 1.0"
            async with await address.connect() as client:
                client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
                assert (await client.response(b"HEAD")).status == 200
                assert (await client.response()).body == b"one 1.1"
            async with await address.connect() as client:
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert (await client.response()).header("connection") == "close"
                assert await client.closed()

    run(main())


def test_an_exception_is_500_and_the_connection_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/late":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
        if scope["path"] == "/silent":
            return
        raise ValueError("the app's own trouble")

    async def main() -> None:
        async with serving(app) as address, await address.connect() as client:
            for path in (b"/", b"/silent", b"/"):
                client.send(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path)
                response = await client.response()
                assert (response.status, response.body) == (500, b"Internal Server Error")
            client.send(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
                await client.response()

    run(main())
    assert caplog.text.count("ValueError: the app's own trouble") == 3
    assert "Traceback" in caplog.text
    assert "returned without a response" in caplog.text


@pytest.mark.parametrize(
    "start",
    [
        {"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nset-cookie: b")]},
        {"type": "http.response.start", "status": 200, "headers": [("x", "text")]},
        {"type": "http.response.start", "status": "no"},
        {"type": "http.response.start"},
        {"type": "unknown"},
        {"status": 200},
        ["http.response.start"],
    ],
)
def test_messages_that_cannot_be_sent(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)

    async def main() -> None:
        async with serving(app) as address:
            response = await address.ask(GET)
            assert response.status == 500
            assert "set-cookie" not in dict(response.headers)

    run(main())
    assert "Exception in ASGI application" in caplog.text


def test_too_many_connections_are_told_to_come_again() -> None:
    async def main() -> None:
        async with serving(echo, max_connections=1) as address, await address.connect() as first:
            first.send(GET)
            assert (await first.response()).status == 200
            async with await address.connect() as second:
                response = await second.response()
                assert (response.status, response.header("retry-after")) == (503, "1")
            first.send(GET)
            assert (await first.response()).status == 200

    run(main())
