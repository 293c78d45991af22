"""Apps of `pelton.web`, whose compiled plans the server runs without ASGI in between."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel

from pelton.web import APIRouter, FastAPI, Request
from tests.server.support import run, serving


class Item(BaseModel):
    name: str
    price: float = 1.0


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/hello/{name}")
    async def hello(name: str, times: int = 1) -> dict[str, Any]:
        return {"hello": name, "times": times}

    @app.get("/later/{number}")
    async def later(number: int) -> int:
        for _ in range(10 - number):
            await asyncio.sleep(0)
        return number

    @app.post("/items", status_code=201)
    async def create(item: Item) -> Item:
        return item

    @app.get("/thread")
    def thread() -> str:
        return "from a thread"

    @app.get("/forever")
    async def forever() -> None:
        await asyncio.Event().wait()

    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("an endpoint's trouble")

    @app.get("/request")
    async def request(request: Request) -> str:
        assert request.client is not None
        return f"{request.client.host} {request.headers['x-a']}"

    return app


def get(path: str, fields: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode()


def test_parameters_and_errors() -> None:
    async def main() -> None:
        async with serving(make_app()) as address:
            response = await address.ask(get("/hello/w%C3%B6rld?times=3"))
            assert json.loads(response.body) == {"hello": "wörld", "times": 3}
            assert response.header("content-type") == "application/json"
            response = await address.ask(get("/hello/x?times=no"))
            assert response.status == 422
            assert json.loads(response.body)["detail"][0]["loc"] == ["query", "times"]
            assert (await address.ask(get("/nowhere"))).status == 404
            assert (await address.ask(b"HEAD" + get("/hello/x")[3:])).status == 405
            response = await address.ask(get("/request", "X-A: 1\r\n"))
            assert json.loads(response.body) == "127.0.0.1 1"
            assert json.loads((await address.ask(get("/thread"))).body) == "from a thread"

    run(main())


@pytest.mark.parametrize("pieces", [1, 1000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_complete_before_the_endpoint_runs(pieces: int, chunked: bool) -> None:
    async def main() -> None:
        body = json.dumps({"name": "x" * 200_000, "price": 2}).encode()
        size = len(body) // pieces + 1
        parts = [body[at : at + size] for at in range(0, len(body), size)]
        async with serving(make_app()) as address, await address.connect() as client:
            framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
            client.send(f"POST /items HTTP/1.1\r\nHost: a\r\n{framing}\r\n".encode())
            client.send(b"Content-Type: application/json\r\n\r\n")
            for part in parts:
                client.send(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
                await client.writer.drain()
            if chunked:
                client.send(b"0\r\n\r\n")
            response = await client.response()
            assert response.status == 201
            assert json.loads(response.body)["price"] == 2.0
            client.send(get("/hello/next"))
            assert (await client.response()).status == 200

    run(main())


def test_a_body_above_the_limit_is_413() -> None:
    async def main() -> None:
        async with serving(make_app(), max_body=100) as address:
            head = b"POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n"
            assert (await address.ask(head)).status == 413

    run(main())


def test_routes_that_cannot_be_read_fail_all_requests_of_a_turn() -> None:
    class Unreadable(list[Any]):
        def __iter__(self) -> Any:
            raise ValueError("no routes")

    async def main() -> None:
        app = make_app()
        async with serving(app) as address, await address.connect() as client:
            client.send(get("/hello/x"))
            assert (await client.response()).status == 200
            routes = app.router.routes
            app.router.routes = Unreadable(routes)
            client.send(get("/hello/x") * 3)
            assert [(await client.response()).status for _ in range(3)] == [500] * 3
            app.router.routes = routes
            client.send(get("/hello/x"))
            assert (await client.response()).status == 200

    run(main())


def test_pipelined_endpoints_answer_in_order() -> None:
    async def main() -> None:
        async with serving(make_app()) as address, await address.connect() as client:
            client.send(b"".join(get(f"/later/{number}") for number in range(10)))
            answers = [json.loads((await client.response()).body) for _ in range(10)]
            assert answers == list(range(10))

    run(main())


def test_an_exception_is_500_and_the_connection_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving(make_app()) as address, await address.connect() as client:
            for _ in range(2):
                client.send(get("/broken"))
                response = await client.response()
                assert (response.status, response.body) == (500, b"Internal Server Error")

    run(main())
    assert caplog.text.count("ValueError: an endpoint's trouble") == 2


def test_stopping_cancels_what_does_not_end() -> None:
    async def main() -> None:
        async with (
            serving(make_app(), graceful_timeout=0.1) as address,
            await address.connect() as client,
        ):
            client.send(get("/hello/x") + get("/forever"))
            assert (await client.response()).status == 200
            address.server.stop()
            assert await client.closed()

    run(main())


def test_a_request_may_change_the_routes_of_the_next() -> None:
    app, spare = make_app(), APIRouter()

    @spare.get("/new")
    async def new() -> str:
        return "new"

    @app.get("/swap")
    async def swap() -> None:
        app.router.routes[-1] = spare.routes[0]

    @app.get("/old")
    async def old() -> str:
        return "old"

    async def main() -> None:
        async with serving(app) as address, await address.connect() as client:
            for path, status in (("/old", 200), ("/new", 404), ("/swap", 200)):
                client.send(get(path))
                assert (await client.response()).status == status
            for path, status in (("/old", 404), ("/new", 200)):
                client.send(get(path))
                assert (await client.response()).status == status

    run(main())
