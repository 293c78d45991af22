"""What stands around routes: middleware, mounts, root paths, overrides. Plans run behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

import pytest
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipResponder
from starlette.middleware.sessions import SessionMiddleware

from pelton import _core
from pelton.web import APIRouter, Depends, FastAPI, Query, Request, Response
from pelton.web._plan_routes import why_asgi
from pelton.web.exceptions import RequestValidationError
from pelton.web.middleware import Middleware
from pelton.web.middleware.compression import CompressionMiddleware
from pelton.web.middleware.cors import CORSMiddleware
from pelton.web.middleware.gzip import GZipMiddleware
from pelton.web.middleware.trustedhost import TrustedHostMiddleware
from pelton.web.responses import FileResponse, JSONResponse
from tests.web.plan_paths import Outcome, check

Next = Callable[[Request], Awaitable[Response]]


class Adding:
    """Pure ASGI: adds a field to every response, and a value to every scope."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def add(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-added", b"1")]
            await send(message)

        await self.app({**scope, "added": True}, receive, add)


class Raising(Exception):
    """An error that middleware sees."""


def routes(app: FastAPI) -> FastAPI:
    @app.get("/items/{number}")
    async def item(number: int, request: Request, q: Annotated[str, Query()] = "") -> Any:
        return [number, q, request.scope.get("added"), "x" * 600]

    @app.get("/raises")
    async def raises() -> Any:
        raise Raising

    @app.exception_handler(Raising)
    async def on_raising(request: Request, error: Raising) -> Response:
        return Response("handled", 418)

    @app.post("/session")
    async def session(request: Request, value: int) -> Any:
        request.session["value"] = value
        return dict(request.session)

    return app


async def through(request: Request, call_next: Next) -> Response:
    response = await call_next(request)
    response.headers["x-through"] = request.url.path
    return response


STACKS: dict[str, list[Any]] = {
    "pure ASGI": [Middleware(Adding)],
    "function": [Middleware(BaseHTTPMiddleware, dispatch=through)],
    "several": [
        Middleware(GZipMiddleware, minimum_size=100),
        Middleware(Adding),
        Middleware(CORSMiddleware, allow_origins=["*"]),
    ],
}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://a"},
        {"origin": "http://b", "accept-encoding": "gzip"},
    ],
)
def test_plans_run_behind_middleware(stack: str, headers: dict[str, str]) -> None:
    app = routes(FastAPI(middleware=STACKS[stack]))
    assert why_asgi(app) is not None
    for url in ("/items/3?q=a", "/items/x", "/raises", "/nothing"):
        check(app, "GET", url, headers=headers, is_direct=False)
    check(app, "OPTIONS", "/items/3", headers=headers, is_direct=False)


LET_PASS: dict[str, list[Any]] = {
    "CORS": [Middleware(CORSMiddleware, allow_origins=["http://a"], allow_methods=["GET"])],
    "hosts": [
        Middleware(TrustedHostMiddleware, allowed_hosts=["*.example.com", "testserver", "www.a.b"])
    ],
    "any host": [Middleware(TrustedHostMiddleware)],
    "any origin": [Middleware(CORSMiddleware, allow_origins=["*"], expose_headers=["x-last"])],
    "any origin, credentials": [
        Middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True)
    ],
    "origins by pattern": [Middleware(CORSMiddleware, allow_origin_regex="http://[a-c]")],
    "gzip": [Middleware(GZipMiddleware, minimum_size=100)],
    "gzip in a thread": [Middleware(GZipMiddleware, minimum_size=100, thread_minimum_size=200)],
    "compression": [Middleware(CompressionMiddleware, minimum_size=100)],
    "session": [Middleware(SessionMiddleware, secret_key="secret")],
}
LET_PASS["both"] = [*LET_PASS["hosts"], *LET_PASS["CORS"]]
LET_PASS["all"] = [
    *LET_PASS["gzip"],
    *LET_PASS["hosts"],
    *LET_PASS["session"],
    *LET_PASS["any origin, credentials"],
    *LET_PASS["compression"],
]


def vary_app(stack: str) -> FastAPI:
    app = routes(FastAPI(middleware=LET_PASS[stack]))

    @app.get("/vary")
    async def vary(response: Response, plain: bool = False, several: bool = False) -> Any:
        made = Response("plain") if plain else response
        made.headers["vary"] = "accept"
        made.headers["x-last"] = "1"
        if several:
            made.headers.append("vary", "cookie")
        return made if plain else {}

    @app.get("/short")
    async def short(response: Response) -> Any:
        response.headers["access-control-allow-origin"] = "theirs"
        return "short"

    @app.get("/streamed")
    async def streamed() -> AsyncIterator[int]:
        yield 1

    @app.get("/unhandled")
    async def unhandled() -> Any:
        raise LookupError("nobody's")

    return app


@pytest.mark.parametrize("stack", LET_PASS)
@pytest.mark.parametrize(
    "url",
    [
        *("/items/3", "/items/x", "/raises", "/vary", "/vary?several=1", "/vary?plain=1"),
        *("/vary?plain=1&several=1", "/short", "/streamed", "/unhandled"),
    ],
)
def test_middleware_that_lets_a_request_pass_is_not_entered(stack: str, url: str) -> None:
    app = vary_app(stack)
    check(app, "GET", url, headers={})
    for headers in (
        {"origin": "http://a", "cookie": "a=b"},
        {"origin": "http://d", "accept-encoding": "br"},
        {"origin": "http://b", "accept-encoding": "gzip"},
    ):
        check(app, "GET", url, headers=headers)


@pytest.mark.parametrize("stack", [stack for stack in LET_PASS if "origin" in stack])
def test_preflights_are_answered_by_the_middleware(stack: str) -> None:
    headers = {"origin": "http://a", "access-control-request-method": "GET"}
    outcome = check(vary_app(stack), "OPTIONS", "/items/3", headers=headers, is_direct=False)
    assert outcome.status == 200
    # Without what makes it one, it is a request of its own.
    check(vary_app(stack), "OPTIONS", "/items/3", headers={"origin": "http://a"}, is_direct=False)


def test_sessions_are_kept_and_ended() -> None:
    app = FastAPI(middleware=LET_PASS["session"])

    @app.get("/{what}")
    async def act(what: str, request: Request, known: str = "") -> Any:
        if what == "put":
            request.session["name"] = "Ada"
        elif what == "end":
            request.session.clear()
        return dict(request.session)

    @app.get("/apart/from/it")
    async def apart() -> str:
        return "apart"

    def fields(outcome: Outcome) -> dict[bytes, bytes]:
        return dict(outcome.headers)

    # The signature holds the second in which it was made.
    def same(outcome: Outcome) -> Any:
        return [outcome.status, outcome.body, list(fields(outcome))]

    put = fields(check(app, "GET", "/put", same=same))
    assert put[b"vary"] == b"Cookie"
    cookie = {"cookie": put[b"set-cookie"].split(b";")[0].decode()}
    assert check(app, "GET", "/read", headers=cookie).body == b'{"name":"Ada"}'
    ended = fields(check(app, "GET", "/end", headers=cookie))
    assert ended[b"set-cookie"].startswith(b"session=null")
    assert b"set-cookie" not in fields(check(app, "GET", "/apart/from/it", headers=cookie))
    forged = {"cookie": cookie["cookie"] + "x"}
    assert check(app, "GET", "/read", headers=forged).body == b"{}"


def test_an_error_handler_has_the_session_of_the_response_that_failed() -> None:
    app = FastAPI(middleware=LET_PASS["session"])

    @app.get("/")
    async def gone() -> Any:
        return FileResponse("/there/is/no/such/file")

    @app.exception_handler(RuntimeError)
    async def on_gone(request: Request, error: RuntimeError) -> Response:
        request.session["flash"] = "gone"
        return Response("gone", 410)

    def same(outcome: Outcome) -> Any:
        return [outcome.status, outcome.body, [name for name, _ in outcome.headers]]

    outcome = check(app, "GET", "/", same=same)
    assert outcome.status == 410
    assert b"set-cookie" in dict(outcome.headers)


def test_gzip_that_ends_when_what_is_inside_has_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ends(self: Any, scope: Any, receive: Any, send: Any) -> None:
        self.send, self.is_over = send, False
        await self.app(scope, receive, self.send_with_compression)
        self.is_over = True

    def compress(self: Any, body: bytes, *, more_body: bool) -> bytes:
        assert not self.is_over
        return whole(self, body, more_body)

    # As it was in Starlette's first versions.
    whole: Any = GZipResponder._compress_body
    monkeypatch.setattr(GZipResponder, "__call__", ends)
    monkeypatch.setattr(
        GZipResponder,
        "_compress_body",
        lambda self, body, more_body: compress(self, body, more_body=more_body),
    )
    headers = {"accept-encoding": "gzip"}
    outcome = check(vary_app("gzip"), "GET", "/items/3", headers=headers, is_direct=False)
    assert dict(outcome.headers)[b"content-encoding"] == b"gzip"


def test_cors_says_that_answers_vary() -> None:
    app = vary_app("CORS")
    assert (b"vary", b"Origin") in check(app, "GET", "/items/3").headers
    fields = check(app, "GET", "/vary?several=1").headers
    assert [value for name, value in fields if name == b"vary"] == [b"accept, cookie, Origin"]
    assert check(app, "GET", "/nothing", is_direct=False).status == 404


@pytest.mark.parametrize(
    ("host", "is_direct", "status"),
    [
        *[("api.example.com", True, 200), ("API.example.COM:8000", True, 200)],
        *[("example.com", False, 400), ("other", False, 400), ("a.b", False, 307)],
        *[("", False, 400), ("api.example.com:99999", False, None), ("[::1]:80", False, 400)],
        *[("user@api.example.com", False, 400), ("api.example.com:", False, None)],
    ],
)
def test_hosts(host: str, is_direct: bool, status: int | None) -> None:
    app = vary_app("hosts")
    outcome = check(app, "GET", "/items/3", headers={"host": host}, is_direct=is_direct)
    assert status is None or outcome.status == status


def test_what_middleware_adds_is_there() -> None:
    app = routes(FastAPI(middleware=STACKS["pure ASGI"]))
    outcome = check(app, "GET", "/items/3", is_direct=False)
    assert (b"x-added", b"1") in outcome.headers
    assert b"true" in outcome.body
    session = routes(FastAPI(middleware=LET_PASS["session"]))
    assert check(session, "POST", "/session?value=4").body == b'{"value":4}'


def test_mounted_applications_have_plans() -> None:
    app, below = FastAPI(), routes(FastAPI())
    app.mount("/below", below)
    deeper = FastAPI()
    deeper.mount("/again", routes(FastAPI()))
    app.mount("/deeper", deeper)

    @app.get("/below/items/{number}")
    async def hidden(number: int) -> Any:
        raise AssertionError("the mount comes first")

    for prefix in ("/below", "/deeper/again"):
        for url in ("/items/7", "/items/x", "/raises", "/docs", "/nothing"):
            check(app, "GET", prefix + url, is_direct=False)
    assert check(app, "GET", "/below/items/7", is_direct=False).status == 200


@pytest.mark.filterwarnings("ignore:The `root_path` parameter")
def test_root_paths() -> None:
    app = routes(FastAPI(root_path="/api"))
    for url in ("/api/items/3", "/items/3", "/api/openapi.json", "/apis/items/3", "/api"):
        check(app, "GET", url, is_direct=False)
    assert check(app, "GET", "/api/items/3", is_direct=False).status == 200


def test_overrides_are_seen_at_once() -> None:
    app, router = FastAPI(), APIRouter()

    async def real(q: int = 1) -> str:
        return f"real {q}"

    async def fake(other: int) -> str:
        return f"fake {other}"

    @router.get("/")
    async def endpoint(value: str = Depends(real)) -> Any:
        return value

    app.include_router(router, prefix="/in")
    assert check(app, "GET", "/in/?q=2").body == b'"real 2"'
    app.dependency_overrides[real] = fake
    assert check(app, "GET", "/in/?other=3", is_direct=False).body == b'"fake 3"'
    assert check(app, "GET", "/in/", is_direct=False).status == 422
    app.dependency_overrides = {}
    assert check(app, "GET", "/in/?q=4").body == b'"real 4"'


def test_an_app_that_is_none_of_ours_has_no_plans() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    assert _core.DirectApp.find(app) is None
    assert why_asgi(app) == "function is no application of pelton.web"

    class Own(FastAPI):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await super().__call__(scope, receive, send)

    assert why_asgi(Own()) == "Own overrides __call__"


def test_overrides_that_come_while_a_request_runs() -> None:
    notes: list[Any] = []
    app = FastAPI()

    def installs(on: bool = False) -> str:
        app.dependency_overrides = {outer: replacement} if on else {}
        return "installed"

    async def shared(q: int = 0) -> int:
        notes.append("shared")
        return q

    async def inner() -> str:
        notes.append("inner")
        return "inner"

    async def outer(below: str = Depends(inner)) -> str:
        return f"outer of {below}"

    async def replacement(
        response: Response, number: int, again: int = Depends(shared)
    ) -> AsyncIterator[str]:
        response.headers["x-replaced"] = "yes"
        notes.append("in")
        yield f"replaced {number} {again}"
        notes.append("out")

    @app.get("/")
    async def endpoint(
        first: str = Depends(installs),
        before: int = Depends(shared),
        value: str = Depends(outer),
        after: int = Depends(shared),
    ) -> Any:
        app.dependency_overrides = {}
        return [first, before, value, after]

    assert check(app, "GET", "/?q=2", notes=notes).body == b'["installed",2,"outer of inner",2]'
    replaced = check(app, "GET", "/?q=2&on=1&number=5", notes=notes)
    assert replaced.body == b'["installed",2,"replaced 5 2",2]'
    assert replaced.notes == ["shared", "in", "out"]
    assert (b"x-replaced", b"yes") in replaced.headers


def test_a_request_that_an_override_finds_wrong() -> None:
    app = FastAPI()

    def installs() -> None:
        app.dependency_overrides = {plain: replacement}

    async def plain() -> int:
        return 1

    async def replacement(number: int) -> int:
        return number

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        app.dependency_overrides = {}
        return JSONResponse(error.errors(), 422)

    @app.get("/")
    async def endpoint(first: None = Depends(installs), value: int = Depends(plain)) -> Any:
        app.dependency_overrides = {}
        return value

    assert check(app, "GET", "/?number=x").status == 422
    assert check(app, "GET", "/?number=8").body == b"8"
