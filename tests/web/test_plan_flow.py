"""What happens in which order: dependencies, endpoint, response, background, clean-up, errors."""

from __future__ import annotations

import asyncio
import gc
import inspect
import weakref
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Annotated, Any

import pytest
from starlette.requests import HTTPConnection

from pelton import _core
from pelton.web import (
    BackgroundTasks,
    Depends,
    FastAPI,
    HTTPException,
    Request,
    Response,
    Security,
)
from pelton.web.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pelton.web.security import HTTPBearer, SecurityScopes
from tests.web.plan_paths import Call, Wire, check, has_plan, through_asgi

notes: list[Any] = []
app = FastAPI()
current: ContextVar[str] = ContextVar("current", default="unset")


class Custom(Exception):
    """An error with a handler."""


class Unhandled(Exception):
    """An error without one."""


@app.exception_handler(Custom)
async def on_custom(request: Request, error: Custom) -> JSONResponse:
    notes.append(("handler", request.url.path))
    return JSONResponse({"custom": str(error)}, status_code=499)


@app.exception_handler(402)
def on_payment(request: Request, error: HTTPException) -> PlainTextResponse:
    return PlainTextResponse(f"pay: {error.detail}", status_code=402)


def plain(q: int = 1) -> int:
    notes.append("plain")
    return q


async def awaited(q: int = 1, below: int = Depends(plain)) -> int:
    notes.append("awaited")
    await asyncio.sleep(0)
    return q + below


async def generated(below: int = Depends(awaited)) -> AsyncIterator[int]:
    notes.append("generated in")
    current.set("generated")
    try:
        yield below
    except BaseException as error:
        notes.append(f"generated saw {type(error).__name__}")
        raise
    finally:
        notes.append("generated out")


def blocking() -> Iterator[str]:
    notes.append("blocking in")
    try:
        yield "b"
    finally:
        notes.append("blocking out")


async def early() -> AsyncIterator[str]:
    notes.append("early in")
    yield "e"
    notes.append("early out")


def note(text: str) -> None:
    notes.append(text)


@app.get("/all", dependencies=[Depends(plain)])
async def of_all(
    tasks: BackgroundTasks,
    response: Response,
    request: Request,
    connection: HTTPConnection,
    one: int = Depends(generated),
    again: int = Depends(awaited),
    fresh: int = Depends(plain, use_cache=False),
    kept: str = Depends(blocking),
    soon: str = Depends(early, scope="function"),
) -> Any:
    tasks.add_task(note, "background")
    response.headers["x-one"] = "1"
    response.set_cookie("c", "v")
    response.status_code = 203
    notes.append(("endpoint", current.get(), request is connection))
    return [one, again, fresh, kept, soon, request.url.path, request.query_params.get("q")]


@app.get("/threads")
def of_threads(value: str = Depends(blocking), below: int = Depends(awaited)) -> Any:
    notes.append("endpoint")
    return {"value": value, "below": below}


def fails(kind: str) -> None:
    errors: dict[str, Exception] = {
        "http": HTTPException(418, {"a": 1}, headers={"x-error": "e"}),
        "empty": HTTPException(304),
        "payment": HTTPException(402, "now"),
        "custom": Custom("c"),
        "unhandled": Unhandled("u"),
    }
    raise errors[kind]


@app.get("/fails/{kind}")
async def of_fails(kind: str, value: int = Depends(generated), b: str = Depends(blocking)) -> Any:
    fails(kind)


@app.get("/fails-in-thread/{kind}")
def of_fails_in_thread(kind: str) -> Any:
    fails(kind)


async def failing(kind: str) -> None:
    fails(kind)


@app.get("/dependency-fails/{kind}")
async def of_dependency_fails(
    value: int = Depends(generated), nothing: None = Depends(failing)
) -> Any:
    notes.append("never")


async def swallows() -> AsyncIterator[None]:
    try:
        yield
    except Unhandled:
        notes.append("swallowed")


async def translates() -> AsyncIterator[None]:
    try:
        yield
    except Unhandled as error:
        raise Custom("translated") from error


async def late_error() -> AsyncIterator[None]:
    yield
    raise Custom("late")


async def twice() -> AsyncIterator[None]:
    yield
    notes.append("second")
    yield


async def never() -> AsyncIterator[None]:
    if notes is None:
        yield


@app.get("/swallows")
async def of_swallows(nothing: None = Depends(swallows)) -> Any:
    fails("unhandled")


@app.get("/swallows-early")
async def of_swallows_early(nothing: None = Depends(swallows, scope="function")) -> Any:
    fails("unhandled")


@app.get("/translates")
async def of_translates(
    value: int = Depends(generated), nothing: None = Depends(translates)
) -> Any:
    fails("unhandled")


@app.get("/late")
async def of_late(value: int = Depends(generated), nothing: None = Depends(late_error)) -> Any:
    return "sent"


@app.get("/late-early")
async def of_late_early(nothing: None = Depends(late_error, scope="function")) -> Any:
    return "not sent"


@app.get("/twice")
async def of_twice(nothing: None = Depends(twice)) -> Any:
    return "sent"


@app.get("/never")
async def of_never(nothing: None = Depends(never)) -> Any:
    return "not sent"


@app.get("/background-fails")
async def of_background_fails(tasks: BackgroundTasks, value: int = Depends(generated)) -> Any:
    tasks.add_task(fails, "unhandled")
    tasks.add_task(note, "not run")
    return "sent"


@app.get("/streams")
async def of_streams(value: int = Depends(generated), soon: str = Depends(early)) -> Any:
    async def chunks() -> AsyncIterator[bytes]:
        notes.append("streaming")
        yield b"a"
        yield b"b"

    return StreamingResponse(chunks(), media_type="text/plain")


@app.get("/not-a-coroutine-function")
async def of_wrapped(value: int = Depends(lambda: asyncio.sleep(0, 5))) -> Any:
    return inspect.isawaitable(value) and await value  # type: ignore[unreachable]


bearer = HTTPBearer()


def scoped(scopes: SecurityScopes, credentials: Any = Depends(bearer)) -> Any:
    return [scopes.scopes, credentials.credentials]


@app.get("/secure")
async def of_secure(found: Annotated[Any, Security(scoped, scopes=["a", "b"])]) -> Any:
    return found


@pytest.mark.parametrize(
    "url",
    [
        "/all?q=4",
        "/all?q=x",
        "/threads?q=2",
        *(
            f"/{start}/{kind}"
            for start in ("fails", "fails-in-thread", "dependency-fails")
            for kind in ("http", "empty", "payment", "custom", "unhandled")
        ),
        "/swallows",
        "/swallows-early",
        "/translates",
        "/late",
        "/late-early",
        "/twice",
        "/never",
        "/background-fails",
        "/streams",
        "/not-a-coroutine-function",
        "/secure",
    ],
)
def test_of_the_app(url: str) -> None:
    check(app, "GET", url, notes=notes)


def test_of_security() -> None:
    outcome = check(app, "GET", "/secure", headers={"authorization": "Bearer t"})
    assert outcome.body == b'[["a","b"],"t"]'


def test_the_order_is_the_documented_one() -> None:
    outcome = check(app, "GET", "/all", notes=notes)
    assert outcome.notes == [
        "plain",
        "awaited",
        "generated in",
        "plain",
        "blocking in",
        "early in",
        ("endpoint", "generated", True),
        "early out",
        "background",
        "blocking out",
        "generated out",
    ]


def test_all_of_these_have_plans() -> None:
    paths = [context.path or "" for context in app.router.route_contexts()]
    own = [path for path in paths if not path.startswith(("/docs", "/openapi", "/redoc"))]
    assert own
    assert all(has_plan(app, path) for path in own)


def test_a_handler_for_everything() -> None:
    whole = FastAPI()

    @whole.exception_handler(Exception)
    async def on_any(request: Request, error: Exception) -> PlainTextResponse:
        return PlainTextResponse(f"caught {error!r}", status_code=555)

    @whole.get("/")
    async def endpoint() -> Any:
        raise Unhandled("x")

    outcome = check(whole, "GET", "/")
    assert (outcome.status, outcome.error) == (555, "Unhandled('x')")


def test_a_handler_that_fails_is_itself_handled() -> None:
    handlers = FastAPI()

    @handlers.exception_handler(Unhandled)
    async def on_unhandled(request: Request, error: Unhandled) -> None:
        raise HTTPException(409, "from the handler")

    @handlers.get("/")
    async def endpoint() -> Any:
        raise Unhandled("x")

    assert check(handlers, "GET", "/").status == 409


def test_overrides_are_seen_at_once() -> None:
    overridden = FastAPI()

    @overridden.get("/")
    async def endpoint(value: int = Depends(plain)) -> Any:
        return value

    assert check(overridden, "GET", "/").body == b"1"
    overridden.dependency_overrides[plain] = lambda: 42
    assert check(overridden, "GET", "/", is_direct=False).body == b"42"
    overridden.dependency_overrides = {}
    assert check(overridden, "GET", "/").body == b"1"


def test_cancellation_reaches_the_endpoint_and_its_dependencies() -> None:
    waiting = FastAPI()
    seen: list[str] = []

    async def resource() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.sleep(0)
            seen.append("released")

    @waiting.get("/")
    async def endpoint(nothing: None = Depends(resource)) -> Any:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def run() -> None:
        direct = _core.DirectApp.find(waiting)
        assert direct is not None
        wire = Wire(Call("GET", "/"))
        started = direct.request(
            "GET", "/", b"", [], b"", lambda: (Call("GET", "/").scope(), wire.receive, wire.send)
        )
        assert started is not None
        for task in (
            asyncio.ensure_future(through_asgi(waiting, Call("GET", "/"), [])),
            asyncio.get_running_loop().create_task(started[0]),
        ):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            seen.clear()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert seen == ["cancelled", "released"]

    asyncio.run(run())


def test_a_run_is_a_coroutine_to_asyncio() -> None:
    async def run() -> None:
        direct = _core.DirectApp.find(app)
        assert direct is not None
        started = direct.request("GET", "/threads", b"", [], b"", lambda: (None, None, None))
        assert started is not None
        coroutine = started[0]
        assert asyncio.iscoroutine(coroutine)
        assert coroutine.__qualname__ == "of_threads"
        with pytest.raises(TypeError, match="just-started"):
            coroutine.send(1)
        task = asyncio.get_running_loop().create_task(coroutine)
        await asyncio.sleep(0)
        assert coroutine.cr_await is not None
        assert "of_threads" in repr(task)
        await task
        assert coroutine.cr_await is None
        with pytest.raises(RuntimeError, match="already awaited"):
            coroutine.send(None)
        coroutine.close()

    asyncio.run(run())


def test_a_run_that_is_closed_ends_its_endpoint() -> None:
    closing = FastAPI()
    seen: list[str] = []

    @closing.get("/")
    async def endpoint() -> Any:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            seen.append("closed")

    async def run() -> None:
        direct = _core.DirectApp.find(closing)
        assert direct is not None
        started = direct.request("GET", "/", b"", [], b"", lambda: (None, None, None))
        assert started is not None
        started[0].send(None)
        started[0].close()
        assert seen == ["closed"]

    asyncio.run(run())


def test_a_request_that_waits_for_ever_can_be_collected() -> None:
    forgotten = FastAPI()
    alive: list[weakref.ref[Any]] = []

    class Held:
        """Something that a weak reference can be made of."""

    @forgotten.get("/")
    async def endpoint() -> Any:
        held = Held()
        alive.append(weakref.ref(held))
        task = asyncio.current_task()
        await asyncio.get_running_loop().create_future()
        return task, held

    async def run() -> None:
        direct = _core.DirectApp.find(forgotten)
        assert direct is not None
        started = direct.request("GET", "/", b"", [], b"", lambda: (None, None, None))
        assert started is not None
        task = asyncio.get_running_loop().create_task(started[0])
        del started
        await asyncio.sleep(0)
        assert alive[0]() is not None
        # A task that is dropped while it waits says so; that is not what this test is about.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        del task
        gc.collect()
        assert alive[0]() is None

    asyncio.run(run())
