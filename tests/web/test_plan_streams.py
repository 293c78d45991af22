"""Endpoints that yield: the same lines, events and errors on every path."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

import pytest
from pydantic import BaseModel

from pelton.web import BackgroundTasks, Depends, FastAPI, Response
from pelton.web.responses import EventSourceResponse, StreamingResponse
from pelton.web.sse import ServerSentEvent
from tests.web.plan_paths import check, has_plan

notes: list[Any] = []
app = FastAPI()


class Item(BaseModel):
    name: str
    size: int = 1


async def resource() -> AsyncIterator[str]:
    notes.append("in")
    try:
        yield "resource"
    finally:
        notes.append("out")


@app.get("/lines")
async def lines(kept: str = Depends(resource), count: int = 2) -> AsyncIterable[Item]:
    for number in range(count):
        notes.append(number)
        yield Item(name=kept, size=number)


@app.get("/blocking")
def blocking(count: int = 2) -> Iterable[Any]:
    for number in range(count):
        yield {"n": number, "nan": float("nan")}


@app.get("/wrong")
async def wrong() -> AsyncIterable[Item]:
    yield Item(name="good")
    yield {"name": 3}  # type: ignore[misc]


@app.get("/raises")
async def raises(kept: str = Depends(resource)) -> AsyncIterable[Item]:
    yield Item(name=kept)
    raise LookupError("in the middle")


@app.get("/events", response_class=EventSourceResponse, status_code=203)
async def events(
    response: Response, tasks: BackgroundTasks, kept: str = Depends(resource)
) -> AsyncIterable[Any]:
    response.headers["x-kept"] = kept
    tasks.add_task(notes.append, "background")
    yield ServerSentEvent(data={"a": 1}, event="first", id="7")
    yield Item(name="second")
    yield "third"


@app.get("/blocking-events", response_class=EventSourceResponse)
def blocking_events() -> Iterable[Any]:
    yield 1
    yield ServerSentEvent(raw_data="two", retry=5)


@app.get("/pieces", response_class=StreamingResponse)
async def pieces() -> AsyncIterable[bytes]:
    yield b"one "
    yield b"two"


@app.get("/soon")
async def soon(kept: str = Depends(resource, scope="function")) -> AsyncIterable[str]:
    notes.append("item")
    yield kept


@pytest.mark.parametrize(
    "url",
    [
        "/lines",
        "/lines?count=0",
        "/lines?count=x",
        "/blocking",
        "/wrong",
        "/raises",
        "/events",
        "/blocking-events",
        "/pieces",
        "/soon",
    ],
)
def test_every_path_streams_the_same(url: str) -> None:
    assert has_plan(app, url.partition("?")[0])
    check(app, "GET", url, notes=notes)


def test_the_lines_are_what_was_yielded() -> None:
    outcome = check(app, "GET", "/lines?count=3", notes=notes)
    assert [json.loads(line)["size"] for line in outcome.body.splitlines()] == [0, 1, 2]
    assert outcome.notes == ["in", 0, 1, 2, "out"]


def test_dependencies_outlive_the_stream() -> None:
    assert check(app, "GET", "/events", notes=notes).notes == ["in", "background", "out"]
    assert check(app, "GET", "/soon", notes=notes).notes == ["in", "out", "item"]


def test_an_error_in_the_middle_is_nobodys_to_answer() -> None:
    outcome = check(app, "GET", "/raises", notes=notes)
    assert outcome.error == "LookupError('in the middle')"
    assert outcome.status == 200
    assert outcome.notes == ["in", "out"]
