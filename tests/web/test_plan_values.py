"""Values from the request: every path gives the endpoint the same, and the same errors."""

from __future__ import annotations

import json
from datetime import date
from enum import Enum
from typing import Annotated, Any
from unittest.mock import patch

import pytest
from pydantic import AliasChoices, BaseModel, Field

from pelton.web import Body, Cookie, FastAPI, Header, Path, Query
from tests.web.plan_paths import check, has_plan


class Color(Enum):
    red = "red"


class Item(BaseModel):
    name: str
    price: float = 1.5
    tags: set[str] = set()


class Filters(BaseModel):
    model_config = {"extra": "forbid"}
    limit: int = 10
    words: list[str] = []


app = FastAPI()


@app.get("/path/{number}/{word}")
async def of_path(number: int, word: str) -> Any:
    return [number, word]


@app.get("/convertors/{number:int}/{rest:path}")
async def of_convertors(number: int, rest: str) -> Any:
    return [number, rest]


@app.get("/quick")
async def quick(
    s: str = "-", i: int = 0, f: float = 0.0, b: bool = False, n: int | None = None
) -> Any:
    return [s, i, f, b, n]


@app.get("/constrained")
async def constrained(
    low: Annotated[int, Query(ge=1, le=5)],
    day: date | None = None,
    color: Color = Color.red,
    strict: Annotated[int, Query(strict=True)] = 1,
) -> Any:
    return [low, day, color, strict]


@app.get("/several")
async def several(
    words: Annotated[list[str], Query()],
    numbers: Annotated[list[int], Query(alias="n")] = [],  # noqa: B006
    either: Annotated[str | None, Query(validation_alias=AliasChoices("a", "b"))] = None,
) -> Any:
    return [words, numbers, either]


@app.get("/headers")
async def of_headers(
    x_token: Annotated[str, Header()],
    x_many: Annotated[list[str] | None, Header()] = None,
    x_raw: Annotated[int, Header(convert_underscores=False)] = 3,
) -> Any:
    return [x_token, x_many, x_raw]


@app.get("/cookies")
async def of_cookies(session: Annotated[str, Cookie()], count: Annotated[int, Cookie()] = 1) -> Any:
    return [session, count]


@app.get("/models")
async def of_models(filters: Annotated[Filters, Query()]) -> Any:
    return filters


@app.post("/body")
async def of_body(item: Item) -> Any:
    return item


@app.post("/optional")
async def optional_body(item: Item | None = None) -> Any:
    return item


@app.post("/embedded/{number}")
async def embedded(
    number: int, item: Item, count: Annotated[int, Body(ge=0)] = 7, q: str = ""
) -> Any:
    return [number, item, count, q]


@app.post("/anything")
async def anything(data: Any = Body()) -> Any:
    return data if not isinstance(data, bytes) else data.decode()


@app.get("/constrained/{size}")
async def constrained_path(size: Annotated[float, Path(gt=0)]) -> Any:
    return size


@pytest.mark.parametrize(
    "url",
    [
        "/path/3/x",
        "/path/-03/caf%C3%A9",
        "/path/x/y",
        "/path/1.0/y",
        "/path/99999999999999999999999/y",
        "/convertors/7/a/b/c",
        "/convertors/7/",
        "/quick",
        "/quick?s=a+b&i=12&f=1.25&b=yes&n=4",
        "/quick?i=+1&f=1e3&b=TRUE",
        "/quick?i=1_000&f=inf&b=2",
        "/quick?i=1.0&f=-.5&b=",
        "/quick?i=&s=",
        "/quick?i=1&i=2&s=a&s=b",
        "/quick?n=null&s=%ff%00&i=%31",
        "/constrained",
        "/constrained?low=0&day=never&color=blue&strict=2",
        "/constrained?low=5&day=2024-02-29&color=red",
        "/several",
        "/several?words=a&words=b&n=1&n=2&b=later&a=first",
        "/several?words=a&n=1&n=x",
        "/models",
        "/models?limit=3&words=a&words=b",
        "/models?limit=3&unknown=1",
        "/constrained/0",
        "/constrained/1.5",
    ],
)
def test_of_the_url(url: str) -> None:
    check(app, "GET", url)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/headers", {}),
        ("/headers", {"x-token": "t", "x-many": "1", "x_raw": "5"}),
        ("/headers", {"x-token": "caf\xe9", "x_raw": "x"}),
        ("/cookies", {}),
        ("/cookies", {"cookie": "session=abc; count=4"}),
        ("/cookies", {"cookie": 'session="a\\"b"; count=x; session=last'}),
    ],
)
def test_of_headers_and_cookies(path: str, headers: dict[str, str]) -> None:
    check(app, "GET", path, headers=headers)


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("path", ["/body", "/optional", "/embedded/1", "/embedded/x", "/anything"])
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, b'{"name": "n", "price": 2, "tags": ["a", "a"]}'),
        (JSON, b'{"item": {"name": "n"}, "count": 1}'),
        (JSON, b'{"item": {"name": 1}, "count": -1}'),
        (JSON, b'{"name": "n", "price": NaN}'),
        (JSON, b'{"name": "\\ud800"}'),
        (JSON, b'{"name": 1e400, "big": 123456789012345678901234567890}'),
        (JSON, b"[1, 2]"),
        (JSON, b"null"),
        (JSON, b""),
        (JSON, b'{"name": '),
        (JSON, b"{'name': 1}"),
        (JSON, b'{"name": "n"} x'),
        (JSON, b'\xef\xbb\xbf{"name": "n"}'),
        (JSON, '{"name": "n"}'.encode("utf-16")),
        (JSON, b'{"name": "\xff"}'),
        (JSON, b"[" * 300 + b"]" * 300),
        ({"content-type": "application/problem+json; charset=utf-8"}, b'{"name": "n"}'),
        ({"content-type": "Application/JSON ;a=b"}, b'{"name": "n"}'),
        ({"content-type": "text/plain"}, b'{"name": "n"}'),
        ({"content-type": "application/json/x"}, b'{"name": "n"}'),
        ({"content-type": ""}, b'{"name": "n"}'),
        ({}, b'{"name": "n"}'),
    ],
)
def test_of_the_body(path: str, headers: dict[str, str], body: bytes) -> None:
    # NaN is unequal to itself, but its text is not.
    check(app, "POST", path, headers=headers, body=body, same=repr)


def test_lenient_content_type() -> None:
    lenient = FastAPI(strict_content_type=False)
    lenient.post("/")(anything)
    outcome = check(lenient, "POST", "/", body=b'{"a": 1}')
    assert json.loads(outcome.body) == {"a": 1}


def test_a_replaced_json_parser_is_asked() -> None:
    with patch("json.loads", side_effect=ValueError("no")):
        outcome = check(app, "POST", "/body", headers=JSON, body=b'{"name": "n"}')
    assert outcome.status == 400


def test_defaults_are_not_shared() -> None:
    shared = FastAPI()

    @shared.get("/")
    async def append(found: Annotated[list[int], Query()] = []) -> Any:  # noqa: B006
        found.append(1)
        return found

    @shared.get("/made")
    async def made(found: Annotated[list[int], Query(default_factory=list)]) -> Any:
        found.append(1)
        return found

    for path in ("/", "/made"):
        for _ in range(2):
            assert json.loads(check(shared, "GET", path).body) == [1]


def test_a_validated_default() -> None:
    strange = FastAPI()

    @strange.get("/")
    async def endpoint(n: Annotated[int, Query(validate_default=True)] = "x") -> Any:  # type: ignore[assignment]
        return n

    assert check(strange, "GET", "/").status == 422


def test_all_of_these_have_plans() -> None:
    for context in app.router.route_contexts():
        if context.path is not None and not context.path.startswith(
            ("/docs", "/openapi", "/redoc")
        ):
            assert has_plan(app, context.path)


def test_a_body_field_with_an_alias() -> None:
    aliased = FastAPI()

    @aliased.post("/")
    async def endpoint(
        one: Annotated[int, Body(alias="first")], two: Annotated[int, Body(alias="second")] = 2
    ) -> Any:
        return [one, two]

    for body in (b'{"first": 1}', b'{"second": 1}', b"[]", b"{}", b""):
        check(aliased, "POST", "/", headers=JSON, body=body)


class Shape(BaseModel):
    side: Annotated[int, Field(gt=0)]


def test_errors_come_in_the_order_of_the_reference() -> None:
    mixed = FastAPI()

    @mixed.post("/{p}")
    async def endpoint(
        shape: Shape,
        p: int,
        q: int,
        h: Annotated[int, Header()],
        c: Annotated[int, Cookie()],
    ) -> Any:
        return None

    outcome = check(mixed, "POST", "/x", headers=JSON, body=b'{"side": 0}')
    places = [error["loc"] for error in json.loads(outcome.body)["detail"]]
    assert places == [
        ["path", "p"],
        ["query", "q"],
        ["header", "h"],
        ["cookie", "c"],
        ["body", "side"],
    ]
