"""Routers whose classes say themselves what matches, and what is done then."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Match

from pelton.web import APIRouter, FastAPI, Request
from tests.web.plan_paths import check


class Deciding(APIRouter):
    """Notes that it was asked, and has rules of its own."""

    def __init__(self, name: str, notes: list[str], **options: Any) -> None:
        super().__init__(**options)
        self.name = name
        self.notes = notes

    def matches(self, scope: Any) -> Any:
        self.notes.append(f"{self.name} matches")
        if b"closed" in dict(scope["headers"]):
            return Match.NONE, {}
        return super().matches(scope)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        self.notes.append(f"{self.name} handles")
        if b"refused" in dict(scope["headers"]):
            await PlainTextResponse("refused", 403)(scope, receive, send)
            return
        await super().handle(scope, receive, send)


def make_app(notes: list[str], others: int) -> FastAPI:
    app = FastAPI(openapi_url=None)
    outer, inner = Deciding("outer", notes, prefix="/outer"), Deciding("inner", notes)

    @app.get("/before")
    async def before() -> str:
        return "before"

    @inner.get("/{number}")
    async def read(number: int, request: Request) -> Any:
        return [number, request.scope["route"].path]

    outer.include_router(inner, prefix="/inner")

    @outer.get("/own")
    async def own() -> str:
        return "own"

    app.include_router(outer, prefix="/v1")

    @app.get("/v1/outer/{rest:path}")
    async def fallback(rest: str) -> str:
        return f"fallback {rest}"

    for number in range(others):

        @app.get(f"/other/{number}")
        async def other() -> str:
            return "other"

    return app


@pytest.mark.parametrize("others", [0, 20])
@pytest.mark.parametrize(
    ("path", "headers", "answer", "asked"),
    [
        ("/v1/outer/own", {}, b'"own"', ["outer matches", "outer handles"]),
        ("/v1/outer/own", {"closed": "1"}, b'"fallback own"', ["outer matches"]),
        ("/v1/outer/own", {"refused": "1"}, b"refused", ["outer matches", "outer handles"]),
        ("/v1/outer/none", {}, b'"fallback none"', ["outer matches", "inner matches"]),
    ],
)
def test_included_routers_are_asked(
    others: int, path: str, headers: dict[str, str], answer: bytes, asked: list[str]
) -> None:
    notes: list[str] = []
    app = make_app(notes, others)
    outcome = check(app, "GET", path, headers=headers, notes=notes, is_direct=False)
    assert outcome.body == answer
    assert [note for note in outcome.notes if note in asked] == asked


@pytest.mark.parametrize("others", [0, 20])
def test_routers_inside_them_are_asked_in_their_turn(others: int) -> None:
    notes: list[str] = []
    app = make_app(notes, others)
    outcome = check(app, "GET", "/v1/outer/inner/7", notes=notes, is_direct=False)
    assert outcome.body == b'[7,"/{number}"]'
    assert [note for note in outcome.notes if "handles" in note] == [
        "outer handles",
        "inner handles",
    ]
    assert check(app, "GET", "/v1/outer/inner/x", is_direct=False).status == 422
    assert check(app, "POST", "/v1/outer/inner/7", is_direct=False).status == 405
    # What comes before them is not theirs to decide, and the document names all routes.
    assert check(app, "GET", "/before").body == b'"before"'
    assert "/v1/outer/inner/{number}" in app.openapi()["paths"]
    assert app.url_path_for("read", number="7") == "/v1/outer/inner/7"


def test_outside_of_an_inclusion_a_router_matches_nothing() -> None:
    router = Deciding("router", [])
    assert router.matches({"type": "http", "path": "/", "headers": []}) == (Match.NONE, {})
