"""Endpoints that yield."""

from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import BaseModel, ValidationError

from pelton.web import FastAPI
from pelton.web.responses import EventSourceResponse, StreamingResponse
from pelton.web.sse import ServerSentEvent, format_sse_event
from pelton.web.testclient import TestClient


class Tick(BaseModel):
    number: int


app = FastAPI()


@app.get("/lines")
async def lines() -> AsyncIterator[Tick]:
    for number in range(2):
        yield Tick(number=number)


@app.get("/lines/blocking")
def blocking() -> Iterator[float]:
    yield 1.5


@app.get("/events", response_class=EventSourceResponse)
async def events() -> AsyncIterator[object]:
    yield {"a": 1}
    yield ServerSentEvent(data="text", event="named", id="7", retry=10)
    yield ServerSentEvent(raw_data="one\ntwo", comment="note")


@app.get("/raw", response_class=StreamingResponse)
def raw() -> Iterator[str]:
    yield "a"
    yield "b"


client = TestClient(app)


def test_lines_of_json() -> None:
    response = client.get("/lines")

    assert response.headers["content-type"] == "application/jsonl"
    assert response.text == '{"number":0}\n{"number":1}\n'
    assert client.get("/lines/blocking").text == "1.5\n"


def test_events() -> None:
    response = client.get("/events")

    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert response.text == (
        'data: {"a":1}\n\n'
        'event: named\ndata: "text"\nid: 7\nretry: 10\n\n'
        ": note\ndata: one\ndata: two\n\n"
    )


def test_raw_streams() -> None:
    assert client.get("/raw").text == "ab"


def test_streams_are_documented_by_their_items() -> None:
    paths = client.get("/openapi.json").json()["paths"]
    content = paths["/lines"]["get"]["responses"]["200"]["content"]

    assert content == {"application/jsonl": {"itemSchema": {"$ref": "#/components/schemas/Tick"}}}


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"event": "a\nb"}, "must be a single line"),
        ({"id": "a\0"}, "null characters"),
        ({"data": 1, "raw_data": "x"}, "Cannot set both"),
        ({"retry": -1}, "greater than or equal to 0"),
    ],
)
def test_events_that_would_break_the_stream(event: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ServerSentEvent.model_validate(event)


def test_an_event_without_anything_is_a_blank_line() -> None:
    assert format_sse_event() == b"\n\n"
