"""What endpoints return: the same status, header fields and bytes on every path."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections import OrderedDict
from datetime import date
from decimal import Decimal
from enum import IntEnum
from typing import Any
from unittest.mock import patch

import pytest
from pydantic import BaseModel, Field, field_validator
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.staticfiles import StaticFiles

from pelton.web import APIRouter, FastAPI, Response, _plan, _plan_routes
from pelton.web.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from tests.web.plan_paths import check, has_plan


class Number(IntEnum):
    one = 1


class Text(str):
    """Text of a class of its own."""


class Model(BaseModel):
    name: str = Field(alias="n")
    secret: str | None = None
    size: int = 3


class Row:
    def __init__(self) -> None:
        self.n = "row"
        self.size = 9


@dataclasses.dataclass
class Point:
    x: int


deep: list[Any] = []
for _ in range(90):
    deep = [deep]

PLAIN_VALUES: list[Any] = [
    None,
    True,
    0,
    -(2**63),
    2**64,
    1.0,
    1e16,
    1e-5,
    0.1,
    -0.0,
    1.7976931348623157e308,
    float("nan"),
    float("inf"),
    "",
    'quote " backslash \\ slash / tab \t newline \n bell \x07 delete \x7f',
    "\u2028 é 漢 \U0001f600",
    "\ud800",
    [],
    {},
    [1, [2, (3, "x")]],
    {"a": {"b": [None]}, "": 1},
    {1: "a", None: "b", False: "c", 1.5: "d"},
    {"_sa_state": 1, "kept": 2},
    {"_sa": 1},
    {"a": {1, 2}},
    OrderedDict(a=1),
    Number.one,
    {"k": Number.one, "t": Text("t")},
    {Text("key"): 1},
    date(2024, 2, 29),
    [Decimal("1.50"), b"bytes"],
    Model(n="x"),
    [Point(1)],
    10**5000,
    deep,
    object(),
]


@pytest.mark.parametrize("value", PLAIN_VALUES, ids=lambda value: type(value).__name__)
def test_plain_values(value: Any) -> None:
    app = FastAPI()

    @app.get("/")
    async def endpoint() -> Any:
        return value

    @app.get("/untyped")
    async def untyped():  # type: ignore[no-untyped-def]
        return value

    assert has_plan(app, "/untyped")
    # An object without a representation of its own shows its address in errors: the same one.
    check(app, "GET", "/untyped")
    check(app, "GET", "/")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"response_model_include": {"name"}},
        {"response_model_exclude": {"name"}},
        {"response_model_include": set()},
        {"response_model_by_alias": False},
        {"response_model_exclude_unset": True},
        {"response_model_exclude_defaults": True},
        {"response_model_exclude_none": True},
        {"status_code": 201},
        {"response_class": JSONResponse},
    ],
)
@pytest.mark.parametrize(
    "value",
    [
        Model(n="x"),
        {"n": "x", "secret": "s", "extra": 1},
        Row(),
        {"n": 5},
        None,
    ],
    ids=repr,
)
@pytest.mark.parametrize("is_async", [True, False])
def test_response_models(options: dict[str, Any], value: Any, is_async: bool) -> None:
    app = FastAPI()

    async def coroutine() -> Any:
        return value

    def blocking() -> Any:
        return value

    app.get("/", response_model=Model, **options)(coroutine if is_async else blocking)

    def stable(outcome: Any) -> Any:
        # Its function's source is the same, its repr may hold addresses.
        return dataclasses.replace(outcome, error=None if outcome.error is None else "error")

    check(app, "GET", "/", same=stable)


@pytest.mark.parametrize("status", [200, 201, 204, 205, 304, 404, 599])
def test_statuses(status: int) -> None:
    app = FastAPI()

    @app.get("/declared", status_code=status, response_model=None)
    async def declared() -> Any:
        return {"a": 1}

    @app.get("/set")
    async def set_later(response: Response) -> Any:
        response.status_code = status
        return {"a": 1}

    check(app, "GET", "/declared")
    check(app, "GET", "/set")


def responses() -> dict[str, Response]:
    plain = PlainTextResponse("x", headers={"X-One": "1"})
    plain.set_cookie("a", "b")
    without_length = Response(b"abc")
    del without_length.headers["content-length"]
    lying = Response(b"abc", headers={"content-length": "5"})
    return {
        "plain": plain,
        "json": JSONResponse({"a": 1}, status_code=202),
        "html": HTMLResponse("<p>"),
        "redirect": RedirectResponse("/x"),
        "empty": Response(status_code=204),
        "file": FileResponse(__file__, stat_result=None, headers={"etag": "e"}),
        "stream": StreamingResponse(iter([b"a", b"b"])),
        "without_length": without_length,
        "lying": lying,
    }


@pytest.mark.parametrize("name", list(responses()))
def test_response_objects(name: str) -> None:
    app = FastAPI()

    @app.get("/")
    async def endpoint(response: Response) -> Any:
        # What is set here counts only for results that are no responses themselves.
        response.headers["x-lost"] = "1"
        return responses()[name]

    outcome = check(app, "GET", "/")
    assert (b"x-lost", b"1") not in outcome.headers


def test_a_default_response_class() -> None:
    class Own(JSONResponse):
        media_type = "application/own+json"

    app = FastAPI(default_response_class=Own)

    @app.get("/")
    async def endpoint() -> Any:
        return {"a": date(2024, 1, 1)}

    assert has_plan(app, "/")
    assert (b"content-type", b"application/own+json") in check(app, "GET", "/").headers


def test_declared_json_responses_are_written_by_their_class() -> None:
    app = FastAPI()

    @app.get("/", response_class=JSONResponse)
    async def endpoint() -> Any:
        return {"a": 1}

    with patch("starlette.responses.json.dumps", wraps=json.dumps) as dumps:
        check(app, "GET", "/")
    assert dumps.call_count == 3


def test_a_result_is_validated_once() -> None:
    seen: list[str] = []

    class Counted(BaseModel):
        name: str

        @field_validator("name")
        @classmethod
        def count(cls, name: str) -> str:
            seen.append(name)
            return name

    app = FastAPI()

    @app.get("/", response_model=Counted)
    async def endpoint() -> Any:
        return {"name": "x"}

    check(app, "GET", "/")
    assert seen == ["x"] * 3


def routed() -> FastAPI:
    app = FastAPI()

    def answer(name: str) -> Any:
        async def endpoint() -> Any:
            return name

        return endpoint

    router = APIRouter(prefix="/sub")
    inner = APIRouter()
    inner.get("/inner/{x}")(answer("inner"))
    router.get("/a")(answer("sub a"))
    router.include_router(inner, prefix="/deep")
    app.get("/items/{x}")(answer("one item"))
    app.get("/items/special")(answer("never reached"))
    app.post("/items/{x}")(answer("post item"))
    app.get("/files/{path:path}")(answer("file"))
    app.get("/pair/{a}-{b}/end")(answer("pair"))
    app.get("/n/{n:int}")(answer("integer"))
    app.get("/f/{n:float}")(answer("float"))
    app.get("/u/{n:uuid}")(answer("uuid"))
    app.get("/slash/")(answer("slash"))
    app.api_route("/many", methods=["PUT", "DELETE"])(answer("many"))
    app.include_router(router)
    app.mount("/static", StaticFiles(directory="."))
    app.get("/static/never")(answer("behind the mount"))
    app.get("/after")(answer("after"))
    return app


@pytest.mark.parametrize(
    ("method", "url", "is_direct"),
    [
        ("GET", "/items/5", True),
        ("GET", "/items/special", True),
        ("POST", "/items/5", True),
        ("GET", "/items/", False),
        ("GET", "/items/a/b", False),
        ("GET", "/items/a%2Fb", False),
        ("GET", "/items/line%0A", False),
        ("PUT", "/items/5", False),
        ("HEAD", "/items/5", False),
        ("GET", "/files/", True),
        ("GET", "/files/a/b.txt", True),
        ("GET", "/pair/1-2/end", True),
        ("GET", "/pair/1-2-3/end", True),
        ("GET", "/pair/-2/end", False),
        ("GET", "/n/12", True),
        ("GET", "/n/-1", False),
        ("GET", "/n/1.5", False),
        ("GET", "/f/1.5", True),
        ("GET", "/u/not", False),
        ("GET", "/slash/", True),
        ("GET", "/slash", False),
        ("DELETE", "/many", True),
        ("GET", "/many", False),
        ("GET", "/sub/a", True),
        ("GET", "/sub/deep/inner/x", True),
        ("GET", "/sub/none", False),
        ("GET", "/static/never", False),
        ("GET", "/static", False),
        ("GET", "/after", True),
        ("GET", "/none", False),
    ],
)
def test_routing(method: str, url: str, is_direct: bool) -> None:
    check(routed(), method, url, is_direct=is_direct)


def test_routes_added_later_are_found() -> None:
    app = FastAPI()
    router = APIRouter()
    app.include_router(router)

    async def endpoint() -> Any:
        return "late"

    check(app, "GET", "/late", is_direct=False)
    router.get("/late")(endpoint)
    check(app, "GET", "/late")
    app.get("/later")(endpoint)
    check(app, "GET", "/later")


def test_apps_with_middleware_are_left_to_asgi() -> None:
    app = FastAPI()
    assert _plan_routes.app_spec(app) is not None
    with_middleware = FastAPI()
    with_middleware.add_middleware(HTTPSRedirectMiddleware)
    assert _plan_routes.app_spec(with_middleware) is None
    below = FastAPI()
    below.root_path = "/api"
    assert _plan_routes.app_spec(below) is None
    assert _plan_routes.app_spec(StaticFiles(directory=".")) is None


def test_explain_names_what_stands_in_the_way() -> None:
    from pelton.web.responses import EventSourceResponse
    from pelton.web.routing import APIRoute

    class Own(APIRoute):
        def get_route_handler(self) -> Any:
            return super().get_route_handler()

    app = FastAPI()

    @app.get("/events", response_class=EventSourceResponse)
    async def events() -> Any:
        return []

    own = APIRouter(route_class=Own)

    @own.get("/own")
    async def of_own() -> None: ...

    app.include_router(own)
    reasons = {
        context.path: _plan.explain(context.effective or context.route)
        for context in app.router.route_contexts()
    }
    assert reasons["/events"] == "an event stream that the endpoint does not yield"
    assert reasons["/own"] == "Own overrides get_route_handler"
    assert reasons["/docs"] == "Route is not an API route"


def test_a_blocking_result_is_validated_in_its_thread() -> None:
    threads: list[tuple[int, int]] = []

    class Lazy(BaseModel):
        value: int

        @field_validator("value", mode="before")
        @classmethod
        def load(cls, value: Any) -> Any:
            threads.append((threading.get_ident(), threading.main_thread().ident or 0))
            return value

    app = FastAPI()

    @app.get("/", response_model=Lazy)
    def endpoint(bad: bool = False) -> Any:
        return {"value": "no" if bad else 1}

    assert check(app, "GET", "/").body == b'{"value":1}'
    assert check(app, "GET", "/?bad=1").error is not None
    assert len(threads) == 6
    assert all(own != main for own, main in threads)
