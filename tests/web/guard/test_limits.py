"""Rate limits and concurrency limits, on every path that a request can take."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pelton import _core
from pelton.web import (
    APIRouter,
    ConcurrencyLimit,
    Depends,
    FastAPI,
    HTTPException,
    RateLimit,
    Request,
    _plan,
    by_header,
)
from pelton.web.guard import Overloaded, RateLimited
from pelton.web.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pelton.web.testclient import TestClient
from tests.jobs.support import until
from tests.server.support import run, serving
from tests.web.plan_paths import Call, Outcome, Wire, directly, has_plan, through_asgi

PATHS = ("reference", "planned", "direct")


async def send(app: FastAPI, path: str, call: Call) -> Outcome:
    """One request on one path."""
    if path == "reference":
        with _plan.disabled():
            return await through_asgi(app, call, [])
    if path == "planned":
        return await through_asgi(app, call, [])
    outcome = await directly(app, call, [])
    assert outcome is not None, "our server would take the ASGI way"
    return outcome


def fields(outcome: Outcome) -> dict[bytes, bytes]:
    return dict(outcome.headers)


# --- rates ---


@pytest.mark.parametrize("path", PATHS)
def test_requests_beyond_the_rate_are_answered_429(path: str) -> None:
    app = FastAPI()
    called = 0

    @app.get("/", limits=[RateLimit("2/hour")])
    async def read() -> str:
        nonlocal called
        called += 1
        return "let in"

    assert has_plan(app, "/")

    async def run() -> list[Outcome]:
        return [await send(app, path, Call("GET", "/")) for _ in range(3)]

    first, second, third = asyncio.run(run())
    assert [first.status, second.status, third.status] == [200, 200, 429]
    assert called == 2
    assert fields(first)[b"ratelimit-policy"] == b'"default";q=2;w=3600'
    assert fields(first)[b"ratelimit"] == b'"default";r=1;t=1800'
    refused = fields(third)
    for state in (fields(second)[b"ratelimit"], refused[b"ratelimit"]):
        left, _, reset = state.rpartition(b"=")
        assert left == b'"default";r=0;t'
        assert 3590 <= int(reset) <= 3600
    assert 1790 <= int(refused[b"retry-after"]) <= 1800
    assert third.body == b'{"detail":"Too many requests"}'


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_says_what_is_left(path: str) -> None:
    app = FastAPI(limits=[RateLimit("100/minute", name="app")])

    @app.get("/plain")
    async def plain() -> PlainTextResponse:
        return PlainTextResponse("text")

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter(["a", "b"]))

    @app.get("/error")
    async def error() -> None:
        raise HTTPException(404)

    @app.get("/invalid/{number}")
    async def invalid(number: int) -> int:
        return number

    async def run() -> list[Outcome]:
        urls = ("/plain", "/stream", "/error", "/invalid/x")
        return [await send(app, path, Call("GET", url)) for url in urls]

    outcomes = asyncio.run(run())
    assert [outcome.status for outcome in outcomes] == [200, 200, 404, 422]
    assert [outcome.body for outcome in outcomes[:2]] == [b"text", b"ab"]
    # One object is one budget, whatever the route.
    left = [fields(outcome)[b"ratelimit"].split(b";")[1] for outcome in outcomes]
    assert left == [b"r=99", b"r=98", b"r=97", b"r=96"]


@pytest.mark.parametrize("path", PATHS)
def test_each_header_value_has_its_own_budget(path: str) -> None:
    app = FastAPI()
    limit = RateLimit("1/day", key=by_header("X-Api-Key"))

    @app.get("/", limits=[limit])
    async def read() -> None: ...

    async def run() -> list[int | None]:
        statuses = []
        for key in ("a", "b", "a", "b", None, None, "127.0.0.1", "testclient"):
            headers = {} if key is None else {"x-api-key": key}
            statuses.append((await send(app, path, Call("GET", "/", headers))).status)
        return statuses

    # Without the header the address counts, and no header value stands for an address.
    assert asyncio.run(run()) == [200, 200, 429, 429, 200, 429, 200, 200]
    assert limit.limiter.keys == 5


def test_all_paths_share_one_budget() -> None:
    app = FastAPI()

    @app.get("/", limits=[RateLimit("3/hour", key=by_header("X-Api-Key"))])
    async def read() -> None: ...

    async def run() -> list[int | None]:
        calls = [
            (path, Call("GET", "/", {"x-api-key": key})) for key in ("a", "ü") for path in PATHS
        ]
        return [(await send(app, path, call)).status for path, call in [*calls, *calls]]

    assert asyncio.run(run()) == [200] * 6 + [429] * 6


def test_the_client_is_the_one_that_trusted_proxies_tell() -> None:
    app = FastAPI()

    @app.get("/", limits=[RateLimit("1/day")])
    async def read() -> None: ...

    async def main() -> None:
        async with serving(app) as address:

            async def ask(client: str) -> int:
                field = f"x-forwarded-for: {client}".encode()
                return (
                    await address.ask(b"GET / HTTP/1.1\r\nhost: x\r\n%b\r\n\r\n" % field)
                ).status

            asked = ["10.0.0.1", "10.0.0.2", "10.0.0.1", "2001:db8::1", "2001:db8::2"]
            assert [await ask(client) for client in asked] == [200, 200, 429, 200, 429]

    run(main())


def test_a_function_may_be_the_key() -> None:
    app = FastAPI()

    async def user(request: Request) -> str | None:
        return request.query_params.get("user")

    @app.get("/", limits=[RateLimit("1/hour", key=user)])
    async def read() -> None: ...

    async def direct() -> Outcome | None:
        return await directly(app, Call("GET", "/"), [])

    assert asyncio.run(direct()) is None
    client = TestClient(app)
    assert [client.get(f"/?user={name}").status_code for name in "aab"] == [200, 429, 200]
    # Nobody's request is not limited, and is told nothing.
    answers = [client.get("/") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert "ratelimit" not in answers[0].headers


def test_limits_of_routers_add_up_and_handlers_may_answer() -> None:
    app = FastAPI(limits=[RateLimit("100/hour", name="app")])
    outer = APIRouter(prefix="/outer", limits=[RateLimit("10/hour", name="outer")])
    inner = APIRouter(limits=[RateLimit("5/hour", name="inner")])

    @inner.get("/read", limits=[RateLimit("1/hour", name="route")])
    async def read() -> int:
        return 1

    @app.get("/free", limits=[RateLimit("1/second", name="own")])
    async def free() -> int:
        return 1

    outer.include_router(inner, prefix="/inner")
    app.include_router(outer)

    @app.exception_handler(RateLimited)
    async def limited(request: Request, error: RateLimited) -> JSONResponse:
        return JSONResponse({"wait": error.retry_after is not None}, 418, error.headers)

    client = TestClient(app)
    answer = client.get("/outer/inner/read")
    assert answer.status_code == 200
    names = [part.split(";")[0] for part in answer.headers["ratelimit"].split(", ")]
    assert names == ['"app"', '"outer"', '"inner"', '"route"']
    refused = client.get("/outer/inner/read")
    assert (refused.status_code, refused.json()) == (418, {"wait": True})
    # What was asked before the refusal is spent; what was not asked is not told.
    assert '"app";r=98' in refused.headers["ratelimit"]
    assert client.get("/free").headers["ratelimit"].startswith('"app";r=97;')
    assert "limits" not in str(app.openapi())


def test_a_request_may_cost_more() -> None:
    app = FastAPI()

    @app.get("/", limits=[RateLimit("10/hour", cost=4)])
    async def read() -> None: ...

    client = TestClient(app)
    assert [client.get("/").status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("100/minute", (100, 60.0)),
        ("5/10 seconds", (5, 10.0)),
        ("1000/h", (1000, 3600.0)),
        (" 2 / d ", (2, 86_400.0)),
        ("7/s", (7, 1.0)),
    ],
)
def test_rates_read_as_they_are_said(rate: str, expected: tuple[int, float]) -> None:
    limit = RateLimit(rate)
    assert (limit.limit, limit.period) == expected


@pytest.mark.parametrize("rate", ["", "10", "10/", "/s", "10/ms", "0/s", "1/0s", "-1/s", "1/year"])
def test_rates_that_say_nothing_are_refused(rate: str) -> None:
    with pytest.raises(ValueError, match="rate="):
        RateLimit(rate)


def test_mistakes_in_declarations_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="cost=3"):
        RateLimit("2/s", cost=3)
    with pytest.raises(ValueError, match="name="):
        RateLimit("2/s", name='a"b')
    with pytest.raises(TypeError, match="neither a RateLimit"):
        FastAPI().get("/", limits=["10/s"])(lambda: None)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="at least 1"):
        ConcurrencyLimit(0)
    with pytest.raises(ValueError, match="queue"):
        ConcurrencyLimit(1, queue=-1)


def test_the_limiter_takes_time_as_an_argument() -> None:
    limiter = _core.RateLimiter(2, 10.0, burst=2, max_keys=3)
    assert limiter.take(b"a", now=0.0) == (True, 1, 0.0, 5.0)
    assert limiter.take(b"a", now=0.0) == (True, 0, 0.0, 10.0)
    assert limiter.take(b"a", now=1.0) == (False, 0, 4.0, 9.0)
    assert limiter.take(b"a", now=5.0) == (True, 0, 0.0, 10.0)
    assert limiter.take(b"a", cost=3, now=5.0)[2] is None
    for key in (b"b", b"c", b"d", b"e"):
        limiter.take(key, now=5.0)
    assert (limiter.keys, limiter.evicted) == (3, 2)
    with pytest.raises(ValueError, match="now="):
        limiter.take(b"a", now=-1.0)


def test_addresses_are_keys_by_network() -> None:
    key = _core.limit_key
    assert key("2001:db8::1") == key("2001:db8::ffff:1") != key("2001:db8:0:1::1")
    assert key("::ffff:10.0.0.1") == key("10.0.0.1") != key("10.0.0.2")
    # No kind of key is one of another kind, whatever a header says.
    assert key("testclient") == b"-testclient"
    kinds = {kind[:1] for kind in map(key, ("10.0.0.1", "2001:db8::1", "a", ""))}
    assert kinds == {b"4", b"6", b"-"}


def test_a_header_is_no_address() -> None:
    app = FastAPI()

    @app.get("/", limits=[RateLimit("1/day", key=by_header("X-Api-Key"))])
    async def read() -> None: ...

    async def main() -> list[int | None]:
        taken = Call("GET", "/", {"x-api-key": "bcd"})
        # Whoever has this address is not to pay for it: "=bcd" is the octets of 61.98.99.100.
        statuses = []
        for call in (taken, Call("GET", "/", client="61.98.99.100")):
            statuses.append((await send(app, "direct", call)).status)
        return statuses

    assert asyncio.run(main()) == [200, 200]


# --- how many at a time ---


class Room:
    """An app with one guarded route whose requests stay until they are let go."""

    def __init__(self, limit: ConcurrencyLimit) -> None:
        self.limit = limit
        self.app = FastAPI()
        self.inside: list[asyncio.Event] = []

        @self.app.get("/", limits=[limit], dependencies=[Depends(self._left)])
        async def read() -> int:
            go = asyncio.Event()
            self.inside.append(go)
            await go.wait()
            return len(self.inside)

    async def _left(self) -> Any:
        yield
        await asyncio.sleep(0)
        assert self.limit.running >= 1, "a request is under way until its dependencies are left"

    def ask(self) -> asyncio.Task[int | None]:
        """A request under way; its result is the status."""

        async def request() -> int | None:
            wire = Wire(Call("GET", "/"))
            await self.app(Call("GET", "/").scope(), wire.receive, wire.send)
            return wire.status

        return asyncio.create_task(request())

    async def until(self, running: int, waiting: int) -> None:
        """Waits until so many are in and so many wait."""
        expected = (running, waiting)
        await until(lambda: (self.limit.running, self.limit.waiting) == expected, "room")


def test_so_many_at_a_time_and_the_others_in_order() -> None:
    async def run() -> None:
        room = Room(ConcurrencyLimit(2, queue=2, timeout=30))
        tasks = [room.ask() for _ in range(4)]
        await room.until(2, 2)
        # The queue is full, too.
        refused = await room.ask()
        assert refused == 503
        await until(lambda: len(room.inside) == 2, "both endpoints")
        room.inside[0].set()
        assert await tasks[0] == 200
        await room.until(2, 1)
        for index in (1, 2, 3):
            await until(lambda index=index: len(room.inside) > index, "the next endpoint")
            room.inside[index].set()
        assert [await task for task in tasks] == [200] * 4
        await room.until(0, 0)

    asyncio.run(run())


def test_whoever_waits_too_long_is_told_when_to_come_back() -> None:
    async def run() -> None:
        room = Room(ConcurrencyLimit(1, queue=1, timeout=0.01))
        first = room.ask()
        await room.until(1, 0)
        with pytest.raises(Overloaded) as caught:
            async with room.limit.slot():
                pass
        assert caught.value.reason == "waited"
        assert caught.value.headers == {"Retry-After": "1"}
        assert await room.ask() == 503
        assert not first.done()
        await until(lambda: bool(room.inside), "the endpoint")
        room.inside[0].set()
        assert await first == 200
        await room.until(0, 0)

    asyncio.run(run())


def test_a_cancelled_request_leaves_its_place() -> None:
    async def run() -> None:
        room = Room(ConcurrencyLimit(1, queue=3, timeout=30))
        first, second, third = room.ask(), room.ask(), room.ask()
        await room.until(1, 2)
        second.cancel()
        await room.until(1, 1)
        # Its turn comes and it is cancelled in the same moment: the place is not lost.
        await until(lambda: bool(room.inside), "the endpoint")
        room.inside[0].set()
        await first
        third.cancel()
        await asyncio.wait({second, third})
        await room.until(0, 0)
        assert not room.limit._turns

    asyncio.run(run())
