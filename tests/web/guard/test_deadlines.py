"""Deadlines: who has one, what runs under it, and what is answered when it has passed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import pelton
from pelton.jobs import Jobs
from pelton.web import (
    APIRouter,
    BackgroundTasks,
    ConcurrencyLimit,
    Deadline,
    Depends,
    FastAPI,
    Request,
    deadline,
)
from pelton.web.guard import DeadlineExceeded, TimeLeft
from pelton.web.responses import PlainTextResponse, StreamingResponse
from pelton.web.testclient import TestClient
from tests.jobs.support import until, working
from tests.web.plan_paths import Call, Wire, through_asgi

LATE = 0.05
"""Seconds after which the requests of these tests are late."""


async def forever() -> None:
    await asyncio.Event().wait()


def test_a_late_request_is_cancelled_and_cleaned_up() -> None:
    app = FastAPI()
    notes: list[Any] = []

    async def resource() -> AsyncIterator[str]:
        try:
            yield "resource"
        except BaseException as error:
            notes.append(type(error).__name__)
            raise
        finally:
            # Cleaning up may wait: it is not cancelled again.
            await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            notes.append("cleaned up")

    def blocking_resource() -> Iterator[None]:
        yield
        notes.append("unreachable")

    # Time enough for the threads of the dependencies, on a machine that is busy.
    @app.get("/", deadline=10 * LATE)
    async def read(
        held: str = Depends(resource), blocking: None = Depends(blocking_resource)
    ) -> str:
        try:
            await forever()
        finally:
            notes.append("endpoint left")
        return held

    client = TestClient(app)
    answer = client.get("/")
    assert answer.status_code == 504
    assert answer.json() == {"detail": "The request took longer than its deadline"}
    assert notes == ["endpoint left", "CancelledError", "cleaned up"]


def test_a_request_in_time_is_answered_as_ever() -> None:
    app = FastAPI(deadline=60)

    @app.get("/")
    async def read() -> float:
        left = deadline()
        assert left is not None
        return left.remaining()

    assert 0 < TestClient(app).get("/").json() <= 60
    assert deadline() is None


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        ("X-Request-Timeout", "25.5", 25.5),
        ("X-Request-Timeout", "50000ms", 50.0),
        ("X-Request-Timeout", "30 s", 30.0),
        ("X-Request-Timeout", "3600", 100.0),
        ("X-Request-Timeout", None, 80.0),
        ("grpc-timeout", "20S", 20.0),
        ("grpc-timeout", "15000m", 15.0),
        ("grpc-timeout", "1H", 100.0),
    ],
)
def test_clients_ask_for_less_and_get_at_most_the_maximum(
    header: str, value: str | None, expected: float
) -> None:
    app = FastAPI(deadline=Deadline(80.0, header=header, maximum=100.0))

    @app.get("/")
    async def read() -> float:
        left = deadline()
        assert left is not None
        return left.remaining()

    headers = {} if value is None else {header: value}
    remaining = TestClient(app).get("/", headers=headers).json()
    # A machine that is busy loses some of it.
    assert expected - 5 < remaining <= expected


@pytest.mark.parametrize("value", ["", "soon", "-1", "1e9", "5 minutes", "٣"])
def test_a_header_that_is_no_duration_is_a_bad_request(value: str) -> None:
    app = FastAPI(deadline=Deadline(None, header="X-Request-Timeout", maximum=10.0))

    @app.get("/")
    async def read() -> None: ...

    client = TestClient(app)
    answer = client.get("/", headers={"X-Request-Timeout": value.encode()})
    assert answer.status_code == 400
    assert "X-Request-Timeout must be a duration" in answer.json()["detail"]
    assert client.get("/").status_code == 200


def test_without_seconds_only_those_who_ask_have_a_deadline() -> None:
    app = FastAPI(deadline=Deadline(None, header="X-Request-Timeout", maximum=10.0))

    @app.get("/")
    async def read() -> bool:
        return deadline() is not None

    client = TestClient(app)
    assert client.get("/").json() is False
    assert client.get("/", headers={"X-Request-Timeout": "1"}).json() is True
    assert client.get("/", headers={"X-Request-Timeout": "0"}).status_code == 504


def test_the_nearest_declaration_wins() -> None:
    app = FastAPI(deadline=100)
    outer, inner = APIRouter(deadline=50), APIRouter()

    async def seconds() -> float | None:
        left = deadline()
        return None if left is None else round(left.remaining(), -1)

    app.get("/app")(seconds)
    app.get("/own", deadline=20)(seconds)
    app.get("/none", deadline=False)(seconds)
    inner.get("/inner")(seconds)
    outer.include_router(inner)
    app.include_router(outer)
    client = TestClient(app)
    found = {path: client.get(path).json() for path in ("/app", "/own", "/none", "/inner")}
    assert found == {"/app": 100.0, "/own": 20.0, "/none": None, "/inner": 50.0}


def test_it_reaches_dependencies_threads_tasks_nurseries_and_scopes() -> None:
    app = FastAPI()
    seen: dict[str, TimeLeft | None] = {}

    def blocking() -> None:
        seen["thread"] = deadline()

    async def child(name: str) -> None:
        seen[name] = deadline()

    @app.get("/", deadline=60)
    async def read(_: None = Depends(blocking)) -> bool:
        left = deadline()
        assert left is not None
        await asyncio.create_task(child("task"))
        async with pelton.open_nursery() as nursery:
            nursery.start_soon(child, "nursery")
        assert {id(value) for value in seen.values()} == {id(left)}
        with left.scope(reserve=59.95) as scope:
            await forever()
        return scope.cancelled_caught

    assert TestClient(app).get("/").json() is True
    assert set(seen) == {"thread", "task", "nursery"}


def test_a_nursery_ends_with_its_request() -> None:
    app = FastAPI()
    ended: list[str] = []

    async def child() -> None:
        try:
            await forever()
        finally:
            ended.append("child")

    @app.get("/", deadline=LATE)
    async def read() -> None:
        async with pelton.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(child)

    assert TestClient(app).get("/").status_code == 504
    assert ended == ["child", "child"]


def test_jobs_may_expire_with_the_request(tmp_path: Any) -> None:
    jobs = Jobs(f"sqlite:///{tmp_path / 'jobs.db'}")
    app = FastAPI(jobs=jobs)

    @jobs.task
    async def work() -> None: ...

    @app.post("/", deadline=60)
    async def create() -> list[str]:
        left = deadline()
        assert left is not None
        # A part of what is left, for a test that has no minute.
        expiring = await work.options(expires=left.remaining() / 6000).enqueue()
        return [expiring.id, (await work.enqueue()).id]

    async def outcomes(ids: list[str]) -> list[str]:
        await asyncio.sleep(0.02)
        async with working(jobs):
            handles = [await jobs.job(id) for id in ids]

            async def have_ended() -> bool:
                states = [await handle.status() for handle in handles]
                return set(states) <= {"succeeded", "cancelled"}

            await until(have_ended, "the end of both jobs")
            return [await handle.status() for handle in handles]

    with TestClient(app) as client:
        ids = client.post("/").json()
    assert asyncio.run(outcomes(ids)) == ["cancelled", "succeeded"]


def test_a_def_endpoint_is_left_behind() -> None:
    import threading

    app = FastAPI()
    release, done = threading.Event(), threading.Event()

    @app.get("/", deadline=LATE)
    def read() -> None:
        release.wait(30)
        done.set()

    assert TestClient(app).get("/").status_code == 504
    assert not done.is_set()
    release.set()
    assert done.wait(30)


def test_background_tasks_have_no_deadline() -> None:
    app = FastAPI()
    notes: list[Any] = []

    async def later() -> None:
        notes.append(deadline())
        await asyncio.sleep(4 * LATE)
        notes.append("done")

    @app.get("/", deadline=LATE)
    async def read(background: BackgroundTasks) -> None:
        background.add_task(later)

    assert TestClient(app).get("/").status_code == 200
    assert notes == [None, "done"]


@pytest.mark.parametrize("streams", [False, True])
def test_a_stream_that_has_begun_is_cut_only_if_asked(streams: bool) -> None:
    app = FastAPI()
    ended: list[str] = []

    async def parts() -> AsyncIterator[str]:
        try:
            yield "first"
            await (forever() if streams else asyncio.sleep(4 * LATE))
            yield "last"
        finally:
            ended.append("stream")

    @app.get("/", deadline=Deadline(LATE, streams=streams))
    async def read() -> StreamingResponse:
        return StreamingResponse(parts())

    outcome = asyncio.run(through_asgi(app, Call("GET", "/"), []))
    assert outcome.status == 200
    assert ended == ["stream"]
    if streams:
        # It cannot be answered any more: the server has to break the connection off.
        assert outcome.body == b"first"
        assert outcome.error is not None
        assert "Timeout" in outcome.error
    else:
        assert (outcome.body, outcome.error) == (b"firstlast", None)


def test_waiting_for_one_s_turn_counts() -> None:
    limit = ConcurrencyLimit(1, queue=1, timeout=60)
    app = FastAPI(deadline=LATE, limits=[limit])

    @app.get("/")
    async def read() -> None: ...

    async def run() -> int | None:
        async with limit.slot():
            outcome = await through_asgi(app, Call("GET", "/"), [])
            assert (limit.running, limit.waiting) == (1, 0)
        return outcome.status

    assert asyncio.run(run()) == 504
    assert (limit.running, limit.waiting) == (0, 0)


def test_handlers_may_answer_late_requests() -> None:
    app = FastAPI(deadline=LATE)

    @app.exception_handler(DeadlineExceeded)
    async def late(request: Request, error: DeadlineExceeded) -> PlainTextResponse:
        return PlainTextResponse(f"not within {error.seconds}", 503)

    @app.get("/")
    async def read() -> None:
        await forever()

    answer = TestClient(app).get("/")
    assert (answer.status_code, answer.text) == (503, f"not within {LATE}")


def test_a_timeout_of_the_endpoint_s_own_is_its_own() -> None:
    app = FastAPI(deadline=60)

    @app.get("/")
    async def read() -> None:
        async with asyncio.timeout(0):
            await forever()

    with pytest.raises(TimeoutError):
        TestClient(app).get("/")


def test_the_request_s_own_cancellation_stays_one() -> None:
    app = FastAPI(deadline=60)
    begun = asyncio.Event()

    @app.get("/")
    async def read() -> None:
        begun.set()
        await forever()

    async def run() -> None:
        wire = Wire(Call("GET", "/"))
        task = asyncio.create_task(app(Call("GET", "/").scope(), wire.receive, wire.send))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert wire.status is None

    asyncio.run(run())


def test_a_request_within_a_request_has_no_more_time() -> None:
    inner = FastAPI(deadline=500)
    outer = FastAPI(deadline=50)

    @inner.get("/")
    async def remaining() -> float:
        left = deadline()
        assert left is not None
        return left.remaining()

    @outer.get("/")
    async def ask() -> str:
        outcome = await through_asgi(inner, Call("GET", "/"), [])
        return outcome.body.decode()

    assert float(TestClient(outer).get("/").json()) <= 50


@pytest.mark.parametrize(
    "arguments",
    [
        {"seconds": 0},
        {"seconds": -1},
        {"seconds": float("inf")},
        {"seconds": None},
        {"seconds": None, "header": "X-Request-Timeout"},
        {"seconds": 5, "maximum": 10},
    ],
)
def test_deadlines_that_make_no_sense_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"seconds|maximum"):
        Deadline(**arguments)


def test_under_trio_the_reason_is_named() -> None:
    app = FastAPI(deadline=5)

    @app.get("/")
    async def read() -> None: ...

    with pytest.raises(RuntimeError, match="need asyncio"):
        TestClient(app, backend="trio").get("/")
