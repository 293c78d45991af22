"""HTTP/2 by prior knowledge: ASGI apps, plans, limits and the end of connections."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from pelton.server import Config, ConfigError, stats
from pelton.web import FastAPI, Request
from tests.conftest import executable
from tests.server.http2_support import forget_servers, http2
from tests.server.support import Receive, Scope, Send, read_body, reply, run, serving

CALM = 0xB
"""ENHANCE_YOUR_CALM."""


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it was sent."""
    await reply(send, await read_body(receive), 200, (b"X-Path", scope["raw_path"]))


class Item(BaseModel):
    name: str
    price: float = 1.0


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/hello")
    async def hello(name: str = "world") -> dict[str, str]:
        return {"hello": name}

    @app.post("/items", status_code=201)
    async def create(item: Item) -> Item:
        return item

    @app.get("/later/{number}")
    async def later(number: int) -> int:
        for _ in range(100 - number):
            await asyncio.sleep(0)
        return number

    @app.get("/thread")
    def thread() -> str:
        return "from a thread"

    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("an endpoint's trouble")

    @app.get("/version")
    async def version(request: Request) -> list[str]:
        return [request.scope["http_version"], str(request.url)]

    return app


def test_the_scope() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await reply(send, b"ok")

    async def main() -> None:
        async with serving(app) as address, http2(address) as client:
            fields = [("cookie", "a=1"), ("x-a", "b"), ("cookie", "c=2")]
            answer = await client.ask("GET", "/a%20b?q=1", fields)
            assert (answer.status, answer.body) == (200, b"ok")
            assert answer.header("content-length") == "2"
            assert answer.header("server") == "pelton"
            (scope,) = scopes
            assert scope["type"] == "http"
            assert scope["http_version"] == "2"
            assert scope["method"] == "GET"
            assert scope["scheme"] == "http"
            assert (scope["path"], scope["raw_path"]) == ("/a b", b"/a%20b")
            assert scope["query_string"] == b"q=1"
            assert scope["headers"] == [
                (b"host", b"localhost"),
                (b"x-a", b"b"),
                (b"cookie", b"a=1; c=2"),
            ]
            assert scope["client"][0] == "127.0.0.1"
            assert scope["server"] == (address.host, address.port)
            assert stats()["requests"] == 1
            assert stats()["responses"]["2xx"] == 1

    forget_servers()
    run(main())


def test_both_protocols_on_one_port() -> None:
    async def main() -> None:
        async with serving(echo) as address:
            async with http2(address) as client:
                assert (await client.ask("POST", "/", body=b"by two")).body == b"by two"
            request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nby one"
            assert (await address.ask(request)).body == b"by one"
            # What begins as the preface does, and is not.
            async with await address.connect() as plain:
                for piece in (b"P", b"R", b"OPFIND / HTTP/1.1\r\nhost: a\r\n\r\n"):
                    plain.send(piece)
                    await asyncio.sleep(0)
                assert (await plain.response()).status == 200
            async with await address.connect() as cut:
                cut.send(b"PRI * HTTP/2.0\r\n")
                cut.writer.write_eof()
                assert await cut.closed()

    run(main())


def test_switched_off() -> None:
    async def main() -> None:
        async with serving(echo, http2=False) as address, await address.connect() as client:
            client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            assert (await client.response()).status in (400, 505)
            assert await client.closed()

    run(main())


def test_a_client_that_stops_in_the_preface() -> None:
    async def main() -> None:
        options = {"head_timeout": 0.1, "keep_alive": 20.0}
        async with serving(echo, **options) as address, await address.connect() as client:
            client.send(b"PRI * HTTP")
            assert await client.closed()

    run(main())


def test_plans_run_over_http2() -> None:
    async def main() -> None:
        async with serving(make_app()) as address, http2(address) as client:
            answer = await client.ask("GET", "/hello?name=x")
            assert json.loads(answer.body) == {"hello": "x"}
            assert answer.header("content-type") == "application/json"
            content = [("content-type", "application/json")]
            answer = await client.ask("POST", "/items", content, b'{"name": "a"}')
            assert (answer.status, json.loads(answer.body)) == (201, {"name": "a", "price": 1.0})
            answer = await client.ask("POST", "/items", content, b'{"price": 1}')
            assert answer.status == 422
            assert json.loads(answer.body)["detail"][0]["loc"] == ["body", "name"]
            assert (await client.ask("GET", "/nowhere")).status == 404
            assert (await client.ask("DELETE", "/hello")).status == 405
            assert json.loads((await client.ask("GET", "/thread")).body) == "from a thread"
            version, url = json.loads((await client.ask("GET", "/version?a=b")).body)
            assert (version, url) == ("2", "http://localhost/version?a=b")
            answer = await client.ask("GET", "/broken")
            assert (answer.status, answer.body) == (500, b"Internal Server Error")

    run(main())


def test_many_at_once_in_any_order() -> None:
    async def main() -> None:
        async with serving(make_app()) as address, http2(address) as client:
            streams = {n: client.request("GET", f"/later/{n}") for n in range(90)}
            for number, stream in streams.items():
                answer = await client.answer(stream)
                assert (answer.status, json.loads(answer.body)) == (200, number)

    run(main())


def test_a_body_in_pieces_both_ways() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": True})
        await send({"type": "http.response.body"})

    async def main() -> None:
        async with serving(app) as address, http2(address) as client:
            stream = client.request("POST", "/", body=b"")
            assert (await client.answer(stream)).body == b""
            stream = client.open(
                [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
            )
            answer = client.answers[stream]
            for piece in (b"one", b"two", b"three" * 1000):
                whole = len(answer.body) + len(piece)
                client.send_body(stream, piece, end=False)
                await client.until(lambda whole=whole: len(answer.body) == whole)
            client.send_body(stream, b"", end=True)
            assert (await client.answer(stream)).ended

    run(main())


def test_a_large_body_needs_new_windows() -> None:
    body = bytes(range(256)) * 8000

    async def main() -> None:
        async with serving(echo) as address, http2(address) as client:
            stream = client.open(
                [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
            )
            rest = memoryview(body)
            while rest:
                await client.until(lambda: client.h2.local_flow_control_window(stream) > 0)
                size = min(len(rest), client.h2.local_flow_control_window(stream))
                client.send_body(stream, bytes(rest[:size]), end=size == len(rest))
                rest = rest[size:]
            answer = await client.answer(stream)
            assert (answer.status, answer.body == body) == (200, True)

    run(main())


def test_an_app_waits_for_a_client_that_does_not_take() -> None:
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200})
        for _ in range(100):
            piece = {"type": "http.response.body", "body": b"x" * 10_000, "more_body": True}
            await send(piece)
            sent += 1
        await send({"type": "http.response.body"})

    async def main() -> None:
        async with serving(app) as address, http2(address) as client:
            client.consume = False
            stream = client.request("GET", "/")
            answer = client.answers[stream]
            await client.until(lambda: len(answer.body) == 65_535)
            # The client's window is shut; the rest of what was sent waits here, and it is not all.
            other = client.request("GET", "/")
            await asyncio.sleep(0)
            assert 10 <= sent < 40
            client.h2.reset_stream(other)
            client.consume = True
            client.h2.acknowledge_received_data(65_535, stream)
            client.flush()
            answer = await client.answer(stream)
            assert len(answer.body) == 1_000_000

    run(main())


def test_a_client_that_takes_its_request_back() -> None:
    events: list[str] = []
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            await reply(send, b"served")
            return
        await receive()
        events.append((await receive())["type"])
        try:
            await reply(send, b"late")
        except OSError:
            events.append("refused")
        ended.set()

    async def main() -> None:
        async with serving(app) as address, http2(address) as client:
            stream = client.request("GET", "/wait")
            assert (await client.ask("GET", "/")).body == b"served"
            client.h2.reset_stream(stream, 8)
            client.flush()
            await ended.wait()
            assert events == ["http.disconnect", "refused"]
            assert (await client.ask("GET", "/")).body == b"served"
            assert stats()["disconnected"] == 1

    forget_servers()
    run(main())


def test_apps_that_fail() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/begun":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
        if scope["path"] == "/short":
            length = (b"content-length", b"10")
            await send({"type": "http.response.start", "status": 200, "headers": [length]})
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
            return
        raise ValueError("trouble")

    async def main() -> None:
        async with serving(app) as address, http2(address) as client:
            answer = await client.ask("GET", "/")
            assert (answer.status, answer.body) == (500, b"Internal Server Error")
            for path in ("/begun", "/short"):
                answer = await client.ask("GET", path)
                assert (answer.status, answer.reset) == (200, 2)
            assert (await client.ask("GET", "/")).status == 500

    logging.getLogger("pelton.server").setLevel(logging.CRITICAL)
    try:
        run(main())
    finally:
        logging.getLogger("pelton.server").setLevel(logging.NOTSET)


def test_responses_without_a_body() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"", 204) if scope["path"] == "/none" else await reply(send, b"hello")

    async def main() -> None:
        async with serving(app) as address, http2(address) as client:
            answer = await client.ask("HEAD", "/")
            assert (answer.header("content-length"), answer.body) == ("5", b"")
            answer = await client.ask("GET", "/none")
            assert (answer.status, answer.header("content-length")) == (204, None)

    run(main())


def test_the_access_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving(echo, access_log=True) as address, http2(address) as client:
            await client.ask("GET", "/path?query")

    with caplog.at_level(logging.INFO, "pelton.access"):
        run(main())
    assert '"GET /path?query HTTP/2" 200' in caplog.text


def test_limits_of_requests() -> None:
    async def main() -> None:
        options = {"max_body": 10, "max_head": 1000, "max_headers": 5}
        async with serving(echo, **options) as address, http2(address) as client:
            answer = await client.ask("POST", "/", [("content-length", "11")], b"x" * 11)
            assert answer.status == 413
            assert (await client.ask("POST", "/", body=b"x" * 11)).status in (413, 200)
            assert (await client.ask("GET", "/", [("x-a", "y" * 2000)])).status == 431
            assert (await client.ask("GET", "/", [("x-a", "y")] * 6)).status == 431
            assert (await client.ask("POST", "/", body=b"x" * 10)).body == b"x" * 10
            assert client.settings[6] == 1000

    run(main())


def test_a_plan_s_body_above_the_limit() -> None:
    async def main() -> None:
        async with serving(make_app(), max_body=10) as address, http2(address) as client:
            content = [("content-type", "application/json")]
            answer = await client.ask("POST", "/items", content, b'{"name": "abcdefghij"}')
            assert answer.status == 413
            assert (await client.ask("GET", "/hello")).status == 200
            counted = stats()
            assert (counted["refused"], counted["in_flight"]) == (1, 0)

    forget_servers()
    run(main())


def test_a_body_that_does_not_come() -> None:
    async def main() -> None:
        async with serving(echo, body_timeout=0.1) as address, http2(address) as client:
            stream = client.open(
                [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
            )
            answer = await client.answer(stream)
            assert answer.status == 408

    run(main())


def test_expect_continue() -> None:
    async def main() -> None:
        async with serving(echo) as address, http2(address) as client:
            stream = client.open(
                [
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":path", "/"),
                    (":authority", "a"),
                    ("expect", "100-continue"),
                ]
            )
            await client.until(lambda: client.answers[stream].informational == [100])
            client.send_body(stream, b"now", end=True)
            assert (await client.answer(stream)).body == b"now"

    run(main())


def test_streams_above_the_limit_are_refused() -> None:
    release = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await reply(send, b"served")

    async def main() -> None:
        async with serving(app, http2_max_streams=3) as address, http2(address) as client:
            await client.until(lambda: client.settings.get(3) == 3)
            # The client's engine would not do it.
            client.h2.remote_settings[3] = 100
            client.h2.remote_settings.acknowledge()
            streams = [client.request("GET", "/") for _ in range(4)]
            assert (await client.answer(streams[3])).reset == 7
            release.set()
            for stream in streams[:3]:
                assert (await client.answer(stream)).body == b"served"

    run(main())


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        ({"http2_max_control_frames": 50}, b"\0\0\x08\x06\0\0\0\0\0" + b"12345678"),
        ({"http2_max_control_frames": 50}, b"\0\0\0\x04\0\0\0\0\0"),
        ({"http2_max_continuations": 3}, b"\0\0\0\x09\0\0\0\0\x01"),
    ],
    ids=["ping", "settings", "continuation"],
)
def test_floods_end_the_connection(options: dict[str, Any], frames: bytes) -> None:
    async def main() -> None:
        async with serving(echo, **options) as address, http2(address) as client:
            if "http2_max_continuations" in options:
                client.send(b"\0\0\x01\x01\0\0\0\0\x01\x82")
            client.send(frames * 100)
            await client.until(lambda: client.goaway is not None)
            assert client.goaway == CALM

    run(main())


def test_rapid_reset_ends_the_connection() -> None:
    async def main() -> None:
        async with serving(echo, http2_max_resets=20) as address, http2(address) as client:
            for _ in range(50):
                stream = client.request("POST", "/")
                client.h2.reset_stream(stream, 8)
            client.flush()
            await client.until(lambda: client.goaway is not None)
            assert client.goaway == CALM
            async with http2(address) as other:
                assert (await other.ask("GET", "/")).status == 200

    run(main())


def test_too_many_connections() -> None:
    async def main() -> None:
        async with serving(echo, max_connections=1) as address, http2(address) as client:
            await client.ask("GET", "/")
            async with await address.connect() as other:
                assert (await other.response()).status == 503

    run(main())


def test_a_graceful_stop_serves_what_is_under_way() -> None:
    release = asyncio.Event()
    begun = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await release.wait()
        await reply(send, b"after all")

    async def main() -> None:
        async with serving(app) as address, http2(address) as client, http2(address) as idle:
            await idle.until(lambda: bool(idle.settings))
            stream = client.request("GET", "/")
            await begun.wait()
            address.server.stop()
            await client.until(lambda: client.goaway is not None)
            assert client.goaway == 0
            await idle.closed()
            assert idle.goaway == 0
            release.set()
            assert (await client.answer(stream)).body == b"after all"
            await client.closed()

    run(main())


def test_a_graceful_stop_has_an_end() -> None:
    begun = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def main() -> None:
        async with serving(app, graceful_timeout=0.2) as address, http2(address) as client:
            client.request("GET", "/")
            await begun.wait()
            address.server.stop()
            await client.closed()

    run(main())


def test_options_that_cannot_be() -> None:
    for name in ("http2_stream_window", "http2_connection_window"):
        with pytest.raises(ConfigError, match=name):
            Config(**{name: 1000})
    with pytest.raises(ConfigError, match="http2_max_streams"):
        Config(http2_max_streams=0)


def test_httpx_as_the_client() -> None:
    async def main() -> None:
        async with serving(make_app()) as address:
            async with httpx.AsyncClient(http1=False, http2=True, base_url=address.url) as client:
                responses = await asyncio.gather(
                    *(client.get("/hello", params={"name": str(n)}) for n in range(50)),
                    client.post("/items", json={"name": "x" * 100_000}),
                )
            assert {response.http_version for response in responses} == {"HTTP/2"}
            assert [response.json()["hello"] for response in responses[:50]] == [
                str(n) for n in range(50)
            ]
            assert responses[50].status_code == 201

    run(main())


async def tool(*command: str) -> str:
    """The output of a program that must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.requires("h2load")
def test_h2load_as_the_client() -> None:
    async def main() -> None:
        program = executable("h2load")
        assert program is not None
        async with serving(make_app()) as address:
            url = f"{address.url}/hello"
            output = await tool(program, "-n", "2000", "-c", "4", "-m", "32", url)
            assert "2000 succeeded, 0 failed, 0 errored" in output
            assert stats()["requests"] == 2000

    forget_servers()
    run(main())


@pytest.mark.requires("nghttp")
def test_nghttp_as_the_client() -> None:
    async def main() -> None:
        program = executable("nghttp")
        assert program is not None
        async with serving(make_app()) as address:
            output = await tool(program, "-v", f"{address.url}/hello")
            assert ":status: 200" in output
            assert '{"hello":"world"}' in output

    run(main())
