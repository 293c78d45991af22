"""A small app as a user writes it: answers, errors, dependencies, lifespan."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from starlette.applications import Starlette

from pelton.web import (
    BackgroundTasks,
    Body,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Query,
    Request,
    Response,
    UploadFile,
)
from pelton.web.exceptions import FastAPIError, ResponseValidationError
from pelton.web.middleware.cors import CORSMiddleware
from pelton.web.responses import JSONResponse
from pelton.web.testclient import TestClient


class Item(BaseModel):
    name: str
    price: float
    tags: list[str] = []


class Stored(BaseModel):
    name: str


def test_errors_name_every_place() -> None:
    app = FastAPI()

    @app.post("/items/{item_id}")
    def create(
        item_id: int,
        item: Item,
        size: Annotated[int, Query(gt=0)],
        x_token: Annotated[str, Header()],
    ) -> None: ...

    response = TestClient(app).post("/items/a?size=0", json={"name": 1, "price": "x"})

    assert response.status_code == 422
    assert [(error["type"], error["loc"]) for error in response.json()["detail"]] == [
        ("int_parsing", ["path", "item_id"]),
        ("greater_than", ["query", "size"]),
        ("missing", ["header", "x-token"]),
        ("string_type", ["body", "name"]),
        ("float_parsing", ["body", "price"]),
    ]


def test_malformed_json_says_where() -> None:
    app = FastAPI()

    @app.post("/")
    def create(item: Item) -> None: ...

    response = TestClient(app).post(
        "/", content=b'{"name": ', headers={"content-type": "application/json"}
    )

    assert response.status_code == 422
    assert response.json() == {
        "detail": [
            {
                "type": "json_invalid",
                "loc": ["body", 9],
                "msg": "JSON decode error",
                "input": {},
                "ctx": {"error": "Expecting value"},
            }
        ]
    }


@pytest.mark.parametrize(
    ("strict", "expected"),
    [(True, 422), (False, 200)],
)
def test_a_body_without_content_type_is_json_only_if_allowed(strict: bool, expected: int) -> None:
    app = FastAPI(strict_content_type=strict)

    @app.post("/")
    def create(item: Item) -> str:
        return item.name

    response = TestClient(app).post("/", content=b'{"name": "a", "price": 1}')

    assert response.status_code == expected


def test_two_bodies_are_keys_and_a_lone_one_may_be() -> None:
    app = FastAPI()

    @app.post("/two")
    def two(item: Item, stored: Stored) -> list[str]:
        return [item.name, stored.name]

    @app.post("/embedded")
    def embedded(item: Annotated[Item, Body(embed=True)]) -> str:
        return item.name

    client = TestClient(app)
    item = {"name": "a", "price": 1}

    assert client.post("/two", json={"item": item, "stored": {"name": "b"}}).json() == ["a", "b"]
    assert client.post("/embedded", json={"item": item}).json() == "a"
    wrong = client.post("/two", json=[1]).json()["detail"]
    assert [error["loc"] for error in wrong] == [["body", "item"], ["body", "stored"]]


def test_forms_and_files() -> None:
    app = FastAPI()

    @app.post("/")
    async def upload(
        title: Annotated[str, Form()],
        picture: UploadFile,
        notes: Annotated[list[bytes], File()],
        tags: Annotated[list[str] | None, Form()] = None,
    ) -> dict[str, Any]:
        content = await picture.read()
        return {"title": title, "size": len(content), "notes": len(notes), "tags": tags}

    client = TestClient(app)
    files = [
        ("picture", ("a.png", b"12345", "image/png")),
        ("notes", ("1.txt", b"x", "text/plain")),
        ("notes", ("2.txt", b"y", "text/plain")),
    ]
    response = client.post("/", data={"title": "t", "tags": ["a", "b"]}, files=files)

    assert response.json() == {"title": "t", "size": 5, "notes": 2, "tags": ["a", "b"]}
    # Browsers send empty inputs for what was not filled in: they count as missing.
    response = client.post("/", data={"title": ""}, files=files[:1])
    assert [error["loc"] for error in response.json()["detail"]] == [
        ["body", "title"],
        ["body", "notes"],
    ]


def test_the_response_model_filters_and_a_wrong_result_is_the_apps_fault() -> None:
    app = FastAPI()

    @app.get("/filtered", response_model=Stored)
    def filtered() -> Any:
        return {"name": "a", "secret": "b"}

    @app.get("/unset", response_model=Item, response_model_exclude_unset=True)
    def unset() -> Any:
        return Item(name="a", price=1)

    @app.get("/wrong")
    def wrong() -> Stored:
        return {"secret": "b"}  # type: ignore[return-value]

    client = TestClient(app)

    assert client.get("/filtered").json() == {"name": "a"}
    assert client.get("/unset").json() == {"name": "a", "price": 1.0}
    with pytest.raises(ResponseValidationError, match=r"1 validation error:\n .*'missing'"):
        client.get("/wrong")


def test_what_dependencies_set_reaches_the_response() -> None:
    app = FastAPI()

    def mark(response: Response) -> str:
        response.headers["x-mark"] = "here"
        response.status_code = 203
        return "marked"

    @app.get("/")
    def read(value: Annotated[str, Depends(mark)]) -> str:
        return value

    response = TestClient(app).get("/")

    assert (response.status_code, response.headers["x-mark"]) == (203, "here")
    assert response.json() == "marked"


def test_generators_close_in_turn_and_background_work_comes_before_the_request_wide() -> None:
    app = FastAPI()
    events: list[str] = []

    def short() -> Iterator[str]:
        yield "short"
        events.append("short closed")

    async def long(value: Annotated[str, Depends(short, scope="request")]) -> AsyncIterator[str]:
        yield value + " long"
        events.append("long closed")

    def brief() -> Iterator[None]:
        yield
        events.append("brief closed")

    @app.get("/")
    def read(
        value: Annotated[str, Depends(long)],
        tasks: BackgroundTasks,
        _: Annotated[None, Depends(brief, scope="function")],
    ) -> str:
        tasks.add_task(events.append, "background")
        events.append("endpoint")
        return value

    assert TestClient(app).get("/").json() == "short long"
    assert events == ["endpoint", "brief closed", "background", "long closed", "short closed"]


def test_a_swallowed_exception_is_reported() -> None:
    app = FastAPI()

    def swallow() -> Iterator[None]:
        try:
            yield
        except ValueError:
            return

    @app.get("/", dependencies=[Depends(swallow)])
    def read() -> None:
        raise ValueError("lost")

    with pytest.raises(FastAPIError, match="Response not awaited"):
        TestClient(app).get("/")


def test_dependencies_are_called_once_and_overridden_live() -> None:
    app = FastAPI()
    calls: list[str] = []

    def settings() -> str:
        calls.append("real")
        return "real"

    def left(value: Annotated[str, Depends(settings)]) -> str:
        return value

    @app.get("/")
    def read(
        a: Annotated[str, Depends(left)],
        b: Annotated[str, Depends(settings)],
        c: Annotated[str, Depends(settings, use_cache=False)],
    ) -> list[str]:
        return [a, b, c]

    client = TestClient(app)
    assert client.get("/").json() == ["real"] * 3
    assert calls == ["real"] * 2

    app.dependency_overrides[settings] = lambda: "fake"
    assert client.get("/").json() == ["fake"] * 3
    app.dependency_overrides = {}
    assert client.get("/").json() == ["real"] * 3


def test_handlers_and_middleware() -> None:
    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=["http://a.example"])

    class Teapot(Exception):
        pass

    @app.exception_handler(Teapot)
    async def teapot(request: Request, error: Teapot) -> JSONResponse:
        return JSONResponse({"short": "stout"}, status_code=418)

    @app.middleware("http")
    async def stamp(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["x-stamp"] = request.url.path
        return response

    @app.get("/tea")
    def tea() -> None:
        raise Teapot

    @app.get("/gone")
    def gone() -> None:
        raise HTTPException(410, detail={"since": 2020}, headers={"x-why": "old"})

    client = TestClient(app)
    response = client.get("/tea", headers={"origin": "http://a.example"})
    assert (response.status_code, response.json()) == (418, {"short": "stout"})
    assert response.headers["access-control-allow-origin"] == "http://a.example"
    assert response.headers["x-stamp"] == "/tea"
    response = client.get("/gone")
    assert (response.status_code, response.json()) == (410, {"detail": {"since": 2020}})
    assert response.headers["x-why"] == "old"
    assert client.post("/gone").status_code == 405
    assert client.get("/nowhere").json() == {"detail": "Not Found"}


class FakeJobs:
    """Stands for `pelton.jobs.Jobs`: the app starts and stops it."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    async def start(self) -> None:
        self.events.append("jobs start")

    async def stop(self) -> None:
        self.events.append("jobs stop")


def test_jobs_live_around_the_lifespan() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        events.append("app start")
        yield {"greeting": "hello"}
        events.append("app stop")

    app = FastAPI(lifespan=lifespan, jobs=FakeJobs(events))

    @app.get("/")
    def read(request: Request) -> str:
        greeting: str = request.state.greeting
        return greeting

    with TestClient(app) as client:
        assert client.get("/").json() == "hello"

    assert events == ["jobs start", "app start", "app stop", "jobs stop"]


def test_the_app_is_starlettes() -> None:
    app = FastAPI()
    sub = FastAPI()

    @sub.get("/inner")
    def inner(request: Request) -> str:
        path: str = request.scope["root_path"]
        return path

    app.mount("/sub", sub)

    assert isinstance(app, Starlette)
    assert TestClient(app).get("/sub/inner").json() == "/sub"
    document = TestClient(app).get("/sub/openapi.json").json()
    assert document["servers"] == [{"url": "/sub"}]
