"""The ASGI interface: scopes, messages, the end of a connection."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from pelton.server import stats
from tests.server.support import Message, Receive, Scope, Send, read_body, reply, run, serving

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def scope_of(request: bytes, **options: Any) -> Scope:
    """The scope that a request makes."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await reply(send)

    async def main() -> None:
        async with serving(app, **options) as address:
            await address.ask(request)
            seen[0]["port"] = address.port

    run(main())
    return seen[0]


def test_a_scope_in_full() -> None:
    scope = scope_of(
        b"GET /caf%C3%A9/a%2Fb?x=1&y=%20 HTTP/1.1\r\n"
        b"Host: h\r\nX-Two: 1\r\nAccept: a\r\nx-two: 2\r\n\r\n"
    )
    port = scope.pop("port")
    client = scope.pop("client")
    assert client[0] == "127.0.0.1"
    assert isinstance(client[1], int)
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/café/a/b",
        "raw_path": b"/caf%C3%A9/a%2Fb",
        "query_string": b"x=1&y=%20",
        "root_path": "",
        "headers": [(b"host", b"h"), (b"x-two", b"1"), (b"accept", b"a"), (b"x-two", b"2")],
        "server": ("127.0.0.1", port),
        "state": {},
        "extensions": {
            "http.response.pathsend": {"ranges": True},
            "http.response.zerocopysend": {},
            "http.response.trailers": {},
            "http.response.early_hint": {},
        },
    }


def test_root_path_is_part_of_the_path() -> None:
    scope = scope_of(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", root_path="/api")
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/api", "/api/x", b"/api/x")


def test_http10_and_a_full_target() -> None:
    scope = scope_of(b"GET http://a.example?q HTTP/1.0\r\nHost: a.example\r\n\r\n")
    assert (scope["http_version"], scope["path"], scope["query_string"]) == ("1.0", "/", b"q")


def test_lifespan_state_reaches_requests_as_a_copy() -> None:
    shared: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            scope["state"]["shared"] = shared
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            shared.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert "own" not in scope["state"]
        scope["state"]["own"] = True
        scope["state"]["shared"].append(scope["path"])
        await reply(send)

    async def main() -> None:
        async with serving(app, lifespan="on") as address:
            await address.ask(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
            await address.ask(b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n")

    run(main())
    assert shared == ["/1", "/2", "shutdown"]


def test_disconnect_is_prompt_and_send_raises_after_it() -> None:
    seen: list[Message] = []
    raised: list[BaseException] = []

    async def main() -> None:
        waiting, over = asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(await receive())
            waiting.set()
            seen.append(await receive())
            try:
                await reply(send)
            except OSError as error:
                raised.append(error)
            over.set()

        async with serving(app) as address:
            async with await address.connect() as client:
                client.send(GET)
                await waiting.wait()
            await over.wait()

    run(main())
    assert [message["type"] for message in seen] == ["http.request", "http.disconnect"]
    assert len(raised) == 1


def test_receive_after_the_response_is_a_disconnect() -> None:
    seen: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        task: asyncio.Task[Message] = asyncio.create_task(receive())  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await reply(send, b"x")
        seen.append(await task)
        seen.append(await receive())

    async def main() -> None:
        async with serving(app) as address:
            assert (await address.ask(GET)).body == b"x"

    run(main())
    assert [message["type"] for message in seen] == ["http.disconnect"] * 2


def test_a_cancelled_receive_loses_nothing() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.01)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ready", "more_body": True})
        await send({"type": "http.response.body", "body": await read_body(receive)})

    async def main() -> None:
        async with serving(app) as address, await address.connect() as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
            await client.head()
            client.send(b"body")
            assert b"".join([chunk async for chunk in client.chunks()]) == b"readybody"

    run(main())


def test_each_request_has_its_own_context() -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        before = variable.get()
        variable.set(scope["path"])
        await asyncio.sleep(0)
        assert variable.get() == scope["path"]
        await reply(send, before.encode())

    async def main() -> None:
        async with serving(app) as address, await address.connect() as client:
            for _ in range(2):
                client.send(GET * 3)
                for _ in range(3):
                    assert (await client.response()).body == b"unset"

    run(main())


def test_a_request_is_a_task_of_asyncio() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert type(task) is asyncio.Task
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            child = group.create_task(asyncio.sleep(0, "child"))
        await reply(send, child.result().encode())

    async def main() -> None:
        async with serving(app) as address:
            assert (await address.ask(GET)).body == b"child"

    run(main())


def test_mounts_come_before_the_app() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"app")

    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, f"{scope['root_path']} {scope['path']}".encode())

    async def main() -> None:
        async with serving(app, mounts={"/_pelton": mounted}) as address:
            for path, body in [
                (b"/", b"app"),
                (b"/_pelton", b"/_pelton /_pelton"),
                (b"/_pelton/jobs", b"/_pelton /_pelton/jobs"),
                (b"/_peltonic", b"app"),
            ]:
                response = await address.ask(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path)
                assert response.body == body

    run(main())


def test_counters_and_access_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pelton.access")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"12345", 404 if scope["path"] == "/no" else 200)

    async def main() -> None:
        before = stats()
        async with serving(app, access_log=True) as address:
            await address.ask(b"GET /yes?a=b HTTP/1.1\r\nHost: a\r\n\r\n")
            await address.ask(b"GET /no HTTP/1.1\r\nHost: a\r\n\r\n")
            await address.ask(b"nonsense\r\n\r\n")
            after = stats()
            assert after["requests"] - before["requests"] == 2
            assert after["responses"]["2xx"] - before["responses"]["2xx"] == 1
            assert after["responses"]["4xx"] - before["responses"]["4xx"] == 2
            assert after["refused"] - before["refused"] == 1
            assert sum(after["latency"]["counts"]) - sum(before["latency"]["counts"]) == 2
            assert len(after["latency"]["counts"]) == len(after["latency"]["bounds"]) + 1
            assert after["in_flight"] == 0

    run(main())
    lines = [record.getMessage() for record in caplog.records if record.name == "pelton.access"]
    assert [line.split(" - ")[1] for line in lines] == [
        '"GET /yes?a=b HTTP/1.1" 200',
        '"GET /no HTTP/1.1" 404',
        '"-" 400',
    ]
