"""How connections end: by halves, with words that must arrive, or by a fault of ours."""

from __future__ import annotations

import asyncio
import logging

import pytest

from pelton.server import server
from pelton.web import FastAPI
from tests.server.support import (
    Message,
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


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await read_body(receive)
    await reply(send, b"hello")


def test_a_half_closed_client_gets_all_its_answers() -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await gate.wait()
            await hello(scope, receive, send)

        async with serving(app) as address, await address.connect() as client:
            client.send(GET * 3)
            client.writer.write_eof()
            # Likely after the end was read; the answers must be the same before it.
            asyncio.get_running_loop().call_later(0.05, gate.set)
            for _ in range(3):
                assert (await client.response()).body == b"hello"
            assert await client.closed()

    run(main())


def test_a_half_closed_client_gets_the_answer_of_a_plan() -> None:
    app = FastAPI()
    gate: list[asyncio.Event] = []

    @app.post("/")
    async def endpoint(item: dict[str, int]) -> dict[str, int]:
        await gate[0].wait()
        return item

    async def main() -> None:
        gate.append(asyncio.Event())
        async with serving(app) as address, await address.connect() as client:
            body = b'{"a":1}'
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n" % len(body))
            client.send(b"Content-Type: application/json\r\n\r\n" + body)
            client.writer.write_eof()
            asyncio.get_running_loop().call_later(0.05, gate[0].set)
            assert (await client.response()).body == body
            assert await client.closed()

    run(main())


def test_who_asks_whether_a_half_closed_client_is_there_hears_that_it_is_not() -> None:
    seen: list[Message] = []
    raised: list[BaseException] = []

    async def main() -> None:
        over = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await read_body(receive)
            seen.append(await receive())
            try:
                await reply(send, b"late")
            except OSError as error:
                raised.append(error)
            over.set()

        async with serving(app) as address, await address.connect() as client:
            client.send(GET)
            client.writer.write_eof()
            assert await client.closed()
            await over.wait()

    run(main())
    assert [message["type"] for message in seen] == ["http.disconnect"]
    assert len(raised) == 1


def test_a_request_cut_short_by_the_end_is_given_up() -> None:
    seen: list[Message] = []

    async def main() -> None:
        over = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            while (message := await receive())["type"] == "http.request":
                pass
            seen.append(message)
            over.set()

        async with serving(app) as address, await address.connect() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
            client.writer.write_eof()
            await over.wait()
            assert await client.closed()

    run(main())
    assert [message["type"] for message in seen] == ["http.disconnect"]


def test_a_refusal_is_read_by_a_client_that_goes_on_sending() -> None:
    async def main() -> None:
        async with serving(hello, max_body=1000) as address:
            for _ in range(20):
                async with await address.connect() as client:
                    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n")
                    client.send(b"x" * 1_000_000)
                    response = await client.response()
                    assert response.status == 413
                    assert response.header("connection") == "close"
                    client.send(b"x" * 1_000_000)
                    assert await client.closed()

    run(main(), 60)


def test_a_client_that_does_not_close_after_the_last_answer_is_closed() -> None:
    async def main() -> None:
        async with serving(hello, linger_timeout=0.1) as address, await address.connect() as client:
            client.send(b"GARBAGE\r\n\r\n")
            assert (await client.response()).status == 400
            assert await client.closed()
            await none_open()

    run(main())


def test_requests_of_a_connection_are_counted() -> None:
    async def main() -> None:
        async with (
            serving(hello, keep_alive_requests=2) as address,
            await address.connect() as client,
        ):
            client.send(GET * 3)
            assert (await client.response()).header("connection") is None
            assert (await client.response()).header("connection") == "close"
            assert await client.closed()

    run(main())


def test_a_panic_ends_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving(hello) as address:
            async with await address.connect() as other, await address.connect() as client:
                other.send(GET)
                assert (await other.response()).body == b"hello"
                [core] = [core for core in server._cores if core.connections]
                core._panic_at_next_read()
                client.send(GET)
                assert await client.closed()
                other.send(GET)
                assert (await other.response()).body == b"hello"
                assert core.stats()["panics"] == 1
            assert (await address.ask(GET)).body == b"hello"
            await none_open()

    with caplog.at_level(logging.ERROR, "pelton.server"):
        run(main())
    assert "panic in the server: a fault was injected" in caplog.text


def test_a_panic_in_an_application_s_call_ends_its_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Fault(BaseException):
        """What PyO3 makes of a panic is no Exception either."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/fault":
            raise Fault
        await reply(send, b"fine")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: None)
        async with serving(app) as address:
            fault = await address.ask(b"GET /fault HTTP/1.1\r\nHost: a\r\n\r\n")
            assert fault.status == 500
            assert (await address.ask(GET)).body == b"fine"

    run(main())


def test_idle_connections_close_at_once_and_others_after_their_answer() -> None:
    async def main() -> None:
        gate, begun = asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/slow":
                begun.set()
                await gate.wait()
            await reply(send, b"done")

        async with serving(app) as address:
            idle, busy = await address.connect(), await address.connect()
            async with idle, busy:
                idle.send(GET)
                assert (await idle.response()).header("connection") is None
                busy.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
                await begun.wait()
                address.server.stop()
                assert await idle.closed()
                gate.set()
                response = await busy.response()
                assert (response.body, response.header("connection")) == (b"done", "close")
                assert await busy.closed()

    run(main())


def test_a_half_closed_client_that_was_denied_a_websocket_gets_its_answer() -> None:
    async def main() -> None:
        gate, begun = asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.http.response.start", "status": 401})
                await send({"type": "websocket.http.response.body", "body": b"no"})
            elif scope["path"] == "/":
                begun.set()
                await gate.wait()
                await reply(send, b"hello")
            else:
                await reply(send)

        async with serving(app) as address, await address.connect() as client:
            client.send(
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            assert (await client.response()).status == 401
            client.send(GET)
            await begun.wait()
            client.writer.write_eof()
            # Once this one is answered, the end was read.
            await address.ask(b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n")
            gate.set()
            assert (await client.response()).body == b"hello"

    run(main())
