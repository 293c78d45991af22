"""Which route takes a request: the same on every path, with few routes and with many."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import pytest
from starlette.convertors import CONVERTOR_TYPES, Convertor, register_url_convertor
from starlette.routing import Match, Mount, Route

from pelton import _core
from pelton.web import APIRouter, Depends, FastAPI, Request
from pelton.web._plan_routes import OPAQUE, pattern_of
from pelton.web.responses import PlainTextResponse
from pelton.web.routing import APIRoute
from tests.web.plan_paths import Call, check, has_plan


class Hexadecimal(Convertor[int]):
    regex = "[0-9a-f]+"

    def convert(self, value: str) -> int:
        if value == "bad":
            raise ValueError("a convertor may raise")
        return int(value, 16)

    def to_string(self, value: int) -> str:
        return f"{value:x}"


@pytest.fixture
def hexadecimal() -> Iterator[None]:
    register_url_convertor("hex", Hexadecimal())
    yield
    del CONVERTOR_TYPES["hex"]


def labelled(app: Any, path: str, label: str, methods: list[str] | None = None) -> None:
    async def endpoint(request: Request) -> Any:
        return [label, {name: repr(value) for name, value in request.path_params.items()}]

    app.add_api_route(path, endpoint, methods=methods or ["GET"])


ID = "12345678-1234-5678-1234-567812345678"


def test_every_convertor(hexadecimal: None) -> None:
    app = FastAPI()

    @app.get("/float/{value:float}")
    async def of_float(value: float) -> Any:
        return value

    @app.get("/uuid/{value:uuid}/end")
    async def of_uuid(value: UUID) -> Any:
        return value

    @app.get("/hex/{value:hex}/{rest}")
    async def of_hex(value: int, rest: str, request: Request) -> Any:
        return [value, rest, repr(request.path_params)]

    @app.get("/mixed/{a:float}-{b:uuid}{c:int}")
    async def mixed(a: str, b: str, c: str) -> Any:
        return [a, b, c]

    paths = [
        *("/float/1.5", "/float/12", "/float/1.", "/float/.5", "/float/1e3", "/float/1.5.2"),
        *(f"/uuid/{ID}/end", f"/uuid/{ID.replace('-', '')}/end", f"/uuid/{ID[:-1]}/end"),
        *("/hex/ff/x", "/hex/fg/x", f"/mixed/1.25-{ID}7", f"/mixed/1-{ID}", f"/mixed/2.-{ID}7"),
    ]
    for path in paths:
        check(app, "GET", path, is_direct=check_found(app, path))
    # What a convertor raises is the app's to answer.
    check(app, "GET", "/hex/bad/x", is_direct=False)


def check_found(app: FastAPI, path: str) -> bool:
    """Whether any API route matches, as Starlette says."""
    scope = {"type": "http", "path": path, "method": "GET"}
    return any(
        isinstance(route, APIRoute) and route.matches(scope)[0] == Match.FULL
        for route in app.routes
    )


SEGMENTS = ["a", "b", "{x}", "{x:int}", "{x:float}", "{x:path}", "p{x}", "{x}-{y}", "", "{x:uuid}"]
VALUES = ["a", "b", "1", "1.5", "pq", "q-r", "", ID, "é"]


@pytest.mark.parametrize("count", [5, 40])
@pytest.mark.parametrize("seed", range(8))
def test_random_tables_are_searched_as_starlette_would(seed: int, count: int) -> None:
    made = random.Random(seed)
    app, plain = FastAPI(), []
    inner = APIRouter()
    for number in range(count):
        segments = [made.choice(SEGMENTS) for _ in range(made.randint(1, 3))]
        path = "/" + "/".join(
            part.replace("x", f"x{at}").replace("y", f"y{at}") for at, part in enumerate(segments)
        )
        methods = [made.choice(["GET", "POST"])]
        within = number % 4 == 3 and path != "/"
        labelled(inner if within else app, path, str(number), methods)
        if number == count // 2:
            app.include_router(inner, prefix="/in")
        plain.append((number, path))
    for _ in range(60):
        url = "/" + "/".join(made.choice(VALUES) for _ in range(made.randint(1, 4)))
        if made.random() < 0.3:
            url = "/in" + url
        expected = scan(app, url)
        outcome = check(app, "GET", url, is_direct=expected == Match.FULL)
        assert (outcome.status == 200) == (expected == Match.FULL)
        if expected == Match.PARTIAL:
            assert outcome.status == 405


def scan(app: FastAPI, path: str) -> Match:
    """How the best of all routes matches, asked one by one."""
    scope: dict[str, Any] = {"type": "http", "path": path, "method": "GET", "root_path": ""}
    found = {route.matches(dict(scope))[0] for route in app.routes}
    return Match.FULL if Match.FULL in found else max(found, key=lambda match: match.value)


def test_redirects_and_other_methods_with_many_routes() -> None:
    app = FastAPI()
    for number in range(20):
        labelled(app, f"/things/{number}", str(number))
        labelled(app, f"/slashed/{number}/", str(number), ["PUT"])
    for method, path, status in [
        ("GET", "/things/7/", 307),
        ("PUT", "/slashed/7", 307),
        ("GET", "/slashed/7", 307),
        ("PUT", "/things/7", 405),
        ("GET", "/nothing", 404),
        ("GET", "/nothing/", 404),
    ]:
        assert check(app, method, path, is_direct=False).status == status


def test_routes_of_their_own_kind_are_asked_in_their_turn() -> None:
    class Choosy(APIRoute):
        def matches(self, scope: Any) -> Any:
            return (Match.FULL, {}) if scope["path"] == "/choosy" else (Match.NONE, {})

        async def handle(self, scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("choosy")(scope, receive, send)

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("mounted " + scope["path"])(scope, receive, send)

    app = FastAPI()
    for number in range(10):
        labelled(app, f"/{number}", str(number))
    app.router.routes.append(Choosy("/never", endpoint=mounted))
    app.router.routes.append(Mount("/below/{name}", mounted))
    app.router.routes.append(Route("/plain", PlainTextResponse("plain")))
    labelled(app, "/below/x/y", "hidden")
    labelled(app, "/choosy", "hidden")
    bodies = {
        path: check(app, "GET", path, is_direct=False).body
        for path in ("/choosy", "/below/x/y", "/below/x", "/plain", "/below")
    }
    assert bodies["/choosy"] == b"choosy"
    assert bodies["/below/x/y"] == b"mounted /below/x/y"
    assert bodies["/plain"] == b"plain"
    # Before them all, a route of the app itself; but one that may match anything stops the core.
    assert check(app, "GET", "/3").status == 200


def test_routes_that_come_later_are_found() -> None:
    app, inner = FastAPI(), APIRouter()
    for number in range(10):
        labelled(app, f"/{number}", str(number))
    app.include_router(inner, prefix="/in")
    assert check(app, "GET", "/in/late", is_direct=False).status == 404
    labelled(inner, "/late", "late")
    assert check(app, "GET", "/in/late").status == 200
    app.router.routes.insert(0, Route("/in/late", PlainTextResponse("first")))
    assert check(app, "GET", "/in/late", is_direct=False).body == b"first"


def test_the_index_leaves_out_what_cannot_match() -> None:
    app = FastAPI(openapi_url=None)
    for number in range(50):
        labelled(app, f"/group{number}/{{x}}", str(number))
    labelled(app, "/{rest:path}", "rest")
    index = _core.RouteIndex([pattern_of(route) for route in app.routes])
    assert index.candidates("/group7/x") == [7, 50]
    assert index.candidates("/other") == [50]
    assert index.candidates("other") == []
    assert _core.RouteIndex([OPAQUE]).candidates("anything") == [0]


def test_one_dependency_at_a_time() -> None:
    running: list[int] = []
    most: list[int] = []

    async def use() -> AsyncIterator[int]:
        running.append(1)
        most.append(len(running))
        await asyncio.sleep(0)
        yield 1
        running.pop()

    def blocking() -> int:
        return 2

    async def awaited() -> int:
        return 3

    app = FastAPI()

    @app.get("/")
    async def endpoint(
        one: int = Depends(use, max_concurrency=1),
        two: int = Depends(blocking, max_concurrency=2),
        three: int = Depends(awaited, max_concurrency=1),
    ) -> Any:
        return [one, two, three]

    assert has_plan(app, "/")
    assert check(app, "GET", "/").body == b"[1,2,3]"

    async def together() -> None:
        async def once() -> None:
            async def receive() -> Any:
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message: Any) -> None: ...

            await app(Call("GET", "/").scope(), receive, send)

        await asyncio.gather(*(once() for _ in range(5)))

    most.clear()
    asyncio.run(together())
    assert len(most) == 5
    assert max(most) == 1
