"""Routers inside routers, routes of their own classes, front ends."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import pytest

from pelton.web import APIRouter, Depends, FastAPI, Request, Response, WebSocket
from pelton.web.exceptions import FastAPIError
from pelton.web.routing import APIRoute, iter_route_contexts
from pelton.web.testclient import TestClient
from pelton.web.websockets import WebSocketDisconnect


def test_included_options_add_up_and_late_routes_are_served() -> None:
    app = FastAPI()
    outer = APIRouter(prefix="/outer", tags=["outer"])
    inner = APIRouter(prefix="/inner", tags=["inner"])

    def mark(response: Response) -> None:
        response.headers["x-mark"] = "yes"

    outer.include_router(inner, prefix="/extra", tags=["extra"])
    app.include_router(outer, prefix="/v1", dependencies=[Depends(mark)])

    @inner.get("/late/{item_id}", name="late")
    def late(item_id: int) -> int:
        return item_id

    client = TestClient(app)
    response = client.get("/v1/outer/extra/inner/late/7")

    assert (response.json(), response.headers["x-mark"]) == (7, "yes")
    assert app.url_path_for("late", item_id=7) == "/v1/outer/extra/inner/late/7"
    operation = client.get("/openapi.json").json()["paths"]["/v1/outer/extra/inner/late/{item_id}"][
        "get"
    ]
    assert operation["tags"] == ["outer", "extra", "inner"]
    paths = [context.path for context in iter_route_contexts(app.routes)]
    assert paths[-1] == "/v1/outer/extra/inner/late/{item_id}"


def test_one_router_twice() -> None:
    app = FastAPI()
    router = APIRouter()

    @router.get("/x")
    def read(request: Request) -> str:
        return request.url.path

    app.include_router(router, prefix="/a")
    app.include_router(router, prefix="/b")
    client = TestClient(app)

    assert [client.get(path).json() for path in ("/a/x", "/b/x")] == ["/a/x", "/b/x"]
    assert client.post("/a/x").status_code == 405
    assert client.get("/a/x/", follow_redirects=False).headers["location"].endswith("/a/x")


def test_routers_that_cannot_be_included() -> None:
    router = APIRouter()
    other = APIRouter()
    other.include_router(router, prefix="/x")

    @router.get("")
    def read() -> None: ...

    with pytest.raises(AssertionError, match="into itself"):
        router.include_router(router)
    with pytest.raises(AssertionError, match="already includes this router"):
        router.include_router(other)
    with pytest.raises(FastAPIError, match="Prefix and path cannot be both empty"):
        FastAPI().include_router(router)
    with pytest.raises(AssertionError, match="must start with '/'"):
        APIRouter(prefix="x")


class CountingRoute(APIRoute):
    """Wraps the handler, and counts through the route as it was declared."""

    count = 0

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def counted(request: Request) -> Response:
            self.count += 1
            response = await handler(request)
            response.headers["x-count"] = str(self.count)
            return response

        return counted


def test_route_classes_wrap_the_handler() -> None:
    app = FastAPI()
    router = APIRouter(route_class=CountingRoute)

    @router.get("/x")
    def read(q: int = 0) -> int:
        return q

    app.include_router(router, prefix="/a")
    client = TestClient(app)

    assert client.get("/a/x?q=2").headers["x-count"] == "1"
    assert client.get("/a/x").headers["x-count"] == "2"
    assert router.routes[0].count == 2  # type: ignore[attr-defined]


def test_websockets_have_dependencies_and_close_on_wrong_values() -> None:
    app = FastAPI()
    router = APIRouter()

    def name(q: str) -> str:
        return q.upper()

    @router.websocket("/ws/{number}")
    async def talk(websocket: WebSocket, number: int, name: Annotated[str, Depends(name)]) -> None:
        await websocket.accept()
        await websocket.send_json([number, name, await websocket.receive_text()])
        await websocket.close()

    app.include_router(router, prefix="/v1")
    client = TestClient(app)

    with client.websocket_connect("/v1/ws/3?q=a") as session:
        session.send_text("hi")
        assert session.receive_json() == [3, "A", "hi"]
    with (
        pytest.raises(WebSocketDisconnect) as closed,
        client.websocket_connect("/v1/ws/x?q=a"),
    ):
        pass
    assert closed.value.code == 1008


def test_front_ends_come_after_all_routes(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<h1>app</h1>")
    (tmp_path / "main.js").write_text("run()")
    app = FastAPI()
    app.frontend("/", directory=tmp_path)

    @app.get("/api")
    def api() -> str:
        return "api"

    client = TestClient(app)

    assert client.get("/api").json() == "api"
    assert client.get("/main.js").text == "run()"
    page = client.get("/some/page", headers={"accept": "text/html"})
    assert (page.status_code, page.text) == (200, "<h1>app</h1>")
    assert client.get("/missing.js", headers={"accept": "*/*"}).status_code == 404
    assert client.post("/main.js").status_code == 405
    with pytest.raises(RuntimeError, match="does not exist"):
        app.frontend("/other", directory=tmp_path / "nowhere")
