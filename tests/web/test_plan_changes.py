"""Apps that change after their first request: the server's plans see it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.middleware.base import BaseHTTPMiddleware

from pelton import _core
from pelton.web import APIRouter, Body, Depends, FastAPI, RateLimit, Request, Response
from pelton.web.guard.app import GuardedApp
from tests.web.plan_paths import Call, check, directly, through_asgi


class Served:
    """An app as a server has it, that keeps what it made of it from request to request."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        known = _core.DirectApp.find(app)
        assert known is not None
        self.known = known

    def __getitem__(self, path: str) -> bytes | None:
        """The body that the server answers with; `None`: 404. ASGI's way answers the same."""

        async def run() -> tuple[Any, Any]:
            call = Call("GET", path)
            planned = await directly(self.app, call, [], self.known)
            return planned, await through_asgi(self.app, call, [])

        planned, outcome = asyncio.run(run())
        # What no plan takes, ASGI answers.
        assert planned is None or planned.body == outcome.body
        self.is_direct = planned is not None
        return None if outcome.status == 404 else outcome.body


def labelled(router: Any, path: str, label: str) -> None:
    async def endpoint() -> str:
        return label

    router.add_api_route(path, endpoint)


def route(path: str, label: str) -> Any:
    spare = APIRouter()
    labelled(spare, path, label)
    return spare.routes[0]


def app_of(count: int) -> FastAPI:
    """An app with as many routes before the ones that matter, so that it is searched or scanned."""
    app = FastAPI(openapi_url=None)
    for number in range(count):
        labelled(app, f"/other/{number}", "other")
    return app


@pytest.mark.parametrize("count", [0, 20])
def test_routes_that_are_replaced_in_place(count: int) -> None:
    app = app_of(count)
    labelled(app, "/old", "old")
    served = Served(app)
    assert served["/old"] == b'"old"'
    assert served.is_direct
    app.router.routes[-1] = route("/old", "new")
    assert served["/old"] == b'"new"'
    app.router.routes[-1] = route("/other", "other")
    assert served["/old"] is None
    assert served["/other"] == b'"other"'
    assert served.is_direct


@pytest.mark.parametrize("count", [0, 20])
def test_as_many_routes_that_are_others(count: int) -> None:
    app = app_of(count)
    labelled(app, "/admin", "first")
    labelled(app, "/admin/{rest}", "second")
    served = Served(app)
    assert served["/admin"] == b'"first"'
    app.router.routes = [item for item in app.routes if not item.path.startswith("/admin")]  # type: ignore[attr-defined]
    # The number of routes and that of declarations have the sum they had.
    labelled(app, "/admin", "third")
    assert served["/admin"] == b'"third"'
    assert served["/admin/x"] is None
    app.routes.clear()
    assert served["/admin"] is None


def test_routers_inside_are_seen_each_for_itself() -> None:
    app, first, second = FastAPI(openapi_url=None), APIRouter(), APIRouter()
    app.include_router(first, prefix="/first")
    # Equal to the other one, for it has no routes either.
    app.include_router(second, prefix="/second")
    served = Served(app)
    assert served["/second/a"] is None
    labelled(second, "/a", "a")
    assert served["/second/a"] == b'"a"'
    second.routes[0] = route("/a", "b")
    assert served["/second/a"] == b'"b"'
    assert served.is_direct
    second.routes.reverse()
    del second.routes[0]
    assert served["/second/a"] is None


def test_the_document_follows_the_routes() -> None:
    app = FastAPI()
    labelled(app, "/old", "old")
    assert list(app.openapi()["paths"]) == ["/old"]
    assert app.openapi() is app.openapi()
    app.router.routes[-1] = route("/new", "new")
    assert list(app.openapi()["paths"]) == ["/new"]


async def marking(request: Request, call_next: Callable[[Request], Any]) -> Response:
    response: Response = await call_next(request)
    return Response(b"marked " + b"".join([part async for part in response.body_iterator]))  # type: ignore[attr-defined]


def test_layers_that_are_built_again() -> None:
    app = app_of(0)
    labelled(app, "/", "plain")
    served = Served(app)
    assert served["/"] == b'"plain"'
    bare = app.middleware_stack
    # As instrumentation does to an app that runs.
    app.middleware_stack = BaseHTTPMiddleware(app.middleware_stack, dispatch=marking)  # type: ignore[arg-type]
    assert served["/"] == b'marked "plain"'
    assert not served.is_direct
    app.middleware_stack = bare
    assert served["/"] == b'"plain"'
    assert served.is_direct


class Transparent:
    """A wrapper that passes on all that it is asked for, as instrumentation's do."""

    def __init__(self, wrapped: Any, notes: list[str]) -> None:
        self.wrapped = wrapped
        self.notes = notes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.notes.append(scope["path"])
        await self.wrapped(scope, receive, send)


def test_what_wraps_a_guard_is_no_guard() -> None:
    app = app_of(0)

    @app.get("/", limits=[RateLimit("9/day")])
    async def read() -> str:
        return "read"

    notes: list[str] = []
    guarded: Any = app.router.routes[0]
    assert type(guarded.app) is GuardedApp
    guarded.app = Transparent(guarded.app, notes)
    served = Served(app)
    assert served["/"] == b'"read"'
    assert not served.is_direct
    assert notes == ["/"]


def test_null_is_a_body_for_an_override_too() -> None:
    app = FastAPI()

    def installs() -> None:
        app.dependency_overrides = {plain: replacement}

    async def plain() -> str:
        return "plain"

    async def replacement(item: dict[str, int] | None = Body()) -> str:
        return f"replaced by {item}"

    @app.post("/")
    async def endpoint(
        first: None = Depends(installs),
        value: str = Depends(plain),
        item: dict[str, int] | None = Body(),
    ) -> Any:
        app.dependency_overrides = {}
        return [value, item]

    headers = {"content-type": "application/json"}
    outcome = check(app, "POST", "/", headers=headers, body=b"null")
    assert outcome.body == b'["replaced by None",null]'
    outcome = check(app, "POST", "/", headers=headers, body=b'{"a":1}')
    assert outcome.body == b'["replaced by {\'a\': 1}",{"a":1}]'
