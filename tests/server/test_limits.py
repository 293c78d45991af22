"""Every limit that SECURITY.md states and no other file of tests holds to its word."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import h2.settings
import pytest

from pelton.server import Config, stats
from tests.server.http2_support import Http2Client, forget_servers
from tests.server.support import (
    Client,
    Receive,
    Scope,
    Send,
    none_open,
    read_body,
    reply,
    run,
    serving,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await reply(send, await read_body(receive))


@pytest.mark.parametrize(
    ("options", "request_", "status"),
    [
        ({"max_request_line": 100}, b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 100), 414),
        ({"max_head": 200}, b"GET / HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n" % (b"x" * 200), 431),
        ({"max_headers": 3}, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 3 + b"\r\n", 431),
        ({"max_body": 5}, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef", 413),
        (
            {"max_head": 200},
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: %s\r\n\r\n"
            % (b"x" * 200),
            431,
        ),
        (
            {"max_headers": 3},
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            + b"X: 1\r\n" * 4
            + b"\r\n",
            431,
        ),
    ],
)
def test_sizes(options: dict[str, int], request_: bytes, status: int) -> None:
    async def main() -> None:
        async with serving(echo, **options) as address:
            response = await address.ask(request_)
            assert response.status == status
            assert response.header("connection") == "close"
            assert (await address.ask(GET)).status == 200

    run(main())


def test_requests_under_way() -> None:
    async def main() -> None:
        gate, begun = asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            begun.set()
            await gate.wait()
            await reply(send, b"done")

        async with (
            serving(app, max_concurrency=1) as address,
            await address.connect() as first,
            await address.connect() as second,
        ):
            first.send(GET)
            await begun.wait()
            second.send(GET)
            response = await second.response()
            assert (response.status, response.header("retry-after")) == (503, "1")
            gate.set()
            assert (await first.response()).body == b"done"
            # The connection of the one that was turned away goes on.
            second.send(GET)
            assert (await second.response()).body == b"done"

    run(main())


def test_empty_lines_do_not_keep_a_connection() -> None:
    async def main() -> None:
        async with serving(echo, head_timeout=0.2, keep_alive=30.0) as address:
            async with await address.connect() as client:
                client.send(b"\r\n")
                # It has begun a request, and must end it.
                assert (await client.response()).status == 408
            async with await address.connect() as client:
                client.send(b"\r\n" * 5 + GET)
                assert (await client.response()).status == 400

    run(main())


def test_a_pipeline_of_a_client_that_does_not_read_is_bounded() -> None:
    answered = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal answered
        answered += 1
        await reply(send, b"x" * 65_536)

    async def fill(client: Client) -> int:
        """Sends until the server takes no more, and how much that was."""
        size = 0
        client.writer.transport.set_write_buffer_limits(1)  # type: ignore[attr-defined]
        while size < 64 << 20:
            client.send(GET * 1000)
            size += len(GET) * 1000
            try:
                async with asyncio.timeout(2):
                    await client.writer.drain()
            except TimeoutError:
                break
        return size

    async def main() -> None:
        async with serving(app, write_timeout=60.0) as address:
            client = await address.connect(receive_buffer=4096)
            assert await fill(client) < 32 << 20
            assert answered < 1000
            client.writer.transport.abort()
            await none_open()

    run(main(), 60)


def test_what_a_client_sends_cannot_forge_lines_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send)

    async def main() -> None:
        async with serving(app, access_log=True) as address:
            await address.ask(
                b"GET /a%0d%0aforged%1b[31m HTTP/1.1\r\nHost: a\r\nUser-Agent: \x80\x9b\xe9\r\n\r\n"
            )
            # What is refused is logged too, without a word of the client's.
            await address.ask(b"GET /x\x1b[2J HTTP/1.1\r\nHost: a\r\n\r\n")

    with caplog.at_level(logging.DEBUG):
        run(main())
    lines = [record.getMessage() for record in caplog.records]
    assert any("/a%0d%0aforged" in line for line in lines)
    for line in lines:
        assert line.isprintable(), repr(line)


def test_limits_that_cannot_be() -> None:
    for name in ("max_concurrency", "keep_alive_requests", "body_buffer", "linger_timeout"):
        with pytest.raises(ValueError, match=name):
            Config(**{name: 0})  # type: ignore[arg-type]


BIG = bytes(32 << 20)
"""More than the kernel keeps for a client that does not read."""


async def big(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await reply(send, BIG)
        return
    await receive()
    await send({"type": "websocket.accept"})
    # It ends with the connection.
    with contextlib.suppress(OSError):
        await send({"type": "websocket.send", "bytes": BIG})


async def stops_reading(client: Client) -> None:
    """Reads until the answer is on its way, so that the rest of it waits in the server."""
    await client.reader.readexactly(100_000)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]


def closes_after_its_answer(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")


def opens_a_socket(client: Client) -> None:
    client.send(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )


def speaks_http2(client: Client) -> None:
    speaker = Http2Client(client.reader, client.writer)
    speaker.begin()
    speaker.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 30})
    speaker.h2.increment_flow_control_window(1 << 30)
    speaker.request("GET", "/")


@pytest.mark.parametrize(
    ("ask", "last"),
    [
        (closes_after_its_answer, b""),
        (opens_a_socket, b"\x88\x80\0\0\0\0"),
        (speaks_http2, None),
    ],
)
def test_a_client_that_does_not_read_the_last_answer(
    ask: Callable[[Client], None], last: bytes | None
) -> None:
    async def main() -> None:
        forget_servers()
        async with serving(big, write_timeout=0.5) as address:
            client = await address.connect(receive_buffer=4096)
            ask(client)
            await stops_reading(client)
            # From here on the server waits for nothing but the client.
            if last is None:
                client.writer.write_eof()
            else:
                client.send(last)
            await none_open()
            client.writer.transport.abort()

    run(main(), 60)


def test_too_many_connections_are_read_on() -> None:
    async def main() -> None:
        options = {"max_connections": 1, "linger_timeout": 30.0}
        async with serving(echo, **options) as address, await address.connect() as first:
            first.send(GET)
            assert (await first.response()).status == 200
            async with await address.connect() as second:
                assert (await second.response()).status == 503
                assert await second.reader.read() == b""
                # What is sent into a closed connection meets a reset, and then an error.
                for _ in range(5):
                    second.send(GET)
                    first.send(GET)
                    assert (await first.response()).status == 200
                assert not second.writer.transport.is_closing()
            await first.close()
            while (await address.ask(GET)).status != 200:  # noqa: ASYNC110 - polls, with run's limit
                await asyncio.sleep(0.01)

    run(main())


def test_too_many_that_linger_are_closed() -> None:
    async def main() -> None:
        options = {"max_connections": 1, "linger_timeout": 0.2}
        async with serving(echo, **options) as address, await address.connect() as first:
            first.send(GET)
            assert (await first.response()).status == 200
            async with contextlib.AsyncExitStack() as stack:
                others = [
                    await stack.enter_async_context(await address.connect()) for _ in range(100)
                ]
                for other in others:
                    assert (await other.response()).status == 503
                # None is kept for longer than the others, though none closes by itself.
                while stats()["connections"] > 1:  # noqa: ASYNC110 - nothing signals it
                    await asyncio.sleep(0.01)

    run(main())
