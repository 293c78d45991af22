"""Arguments and results: validated at the producer, typed at the worker."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from pelton.jobs import InvalidArguments, JobContext, JobFailed, Jobs, PayloadTooLarge
from tests.jobs.support import new_jobs, on_loop, working


class Color(enum.Enum):
    RED = "red"


class Address(BaseModel):
    street: str


class User(BaseModel):
    name: str
    addresses: list[Address] = []


@dataclasses.dataclass
class Point:
    x: float
    raw: bytes


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return new_jobs(tmp_path)


VALUES: list[tuple[Any, Any]] = [
    (int, 7),
    (float, float("inf")),
    (bytes, b"\xff\x00"),
    (datetime, datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)),
    (date, date(2026, 2, 28)),
    (timedelta, timedelta(seconds=1.5)),
    (UUID, UUID(int=5)),
    (Decimal, Decimal("1.10")),
    (Path, Path("/a/b")),
    (Color, Color.RED),
    (User, User(name="Ada", addresses=[Address(street="Main")])),
    (Point, Point(1.5, b"\xfe")),
    (list[Point], [Point(0.0, b""), Point(2.0, b"\x80")]),
    (tuple[int, str], (1, "a")),
    (set[int], {1, 2}),
    (dict[str, Color], {"a": Color.RED}),
    (User | None, None),
]


@pytest.mark.parametrize(("annotation", "value"), VALUES, ids=[str(row[0]) for row in VALUES])
def test_values_travel_as_their_types(jobs: Jobs, annotation: Any, value: Any) -> None:
    def echo(value: Any) -> Any: ...

    echo.__annotations__ = {"value": annotation, "return": annotation}
    task: Any = jobs.task(name="echo")(echo)
    payload = task.arguments.encode((value,), {})
    assert task.arguments.decode(payload) == {"value": value}
    assert type(task.arguments.decode(payload)["value"]) is type(value)
    result = task.returned.encode(value)
    json.loads(result)
    assert task.returned.decode(result) == value


def test_every_kind_of_parameter(jobs: Jobs) -> None:
    @jobs.task
    def mixed(
        ctx: JobContext, a: int, /, b: str, *rest: Decimal, key: bool = False, **more: date
    ) -> None: ...

    def call(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return mixed.arguments.decode(mixed.arguments.encode(args, kwargs))

    assert call(1, "b", Decimal(2), "3", key=True, day=date(2026, 1, 1)) == {
        "a": 1,
        "b": "b",
        "rest": [Decimal(2), Decimal(3)],
        "key": True,
        "more": {"day": date(2026, 1, 1)},
    }
    assert call(1, b="b") == {"a": 1, "b": "b"}


def test_calls_arrive_as_they_were_made(jobs: Jobs) -> None:
    seen: list[Any] = []

    @jobs.task
    def mixed(a: int, b: int = 2, /, *rest: int, c: int = 3, **more: int) -> None:
        seen.append((a, b, rest, c, more))

    for args, kwargs in [((1,), {}), ((1, 5, 6, 7), {"c": 8, "d": 9}), ((1,), {"a": 4})]:
        arguments = mixed.arguments
        arguments.call(JobContext(), arguments.decode(arguments.encode(args, kwargs)))
    assert seen == [(1, 2, (), 3, {}), (1, 5, (6, 7), 8, {"d": 9}), (1, 2, (), 3, {"a": 4})]


def wrong_calls() -> Iterator[tuple[tuple[Any, ...], dict[str, Any], str]]:
    yield (), {}, "needs a value for: user_id, user"
    yield (1,), {}, "needs a value for: user"
    yield (1, {"name": "a"}, 3, 4, 5), {}, "at most 4 positional arguments, but 5"
    yield (1, {"name": "a"}), {"user_id": 2}, "two values for argument 'user_id'"
    yield (1, {"name": "a"}), {"usr": 2}, "no argument 'usr'"
    yield ("x", {"name": "a"}), {}, "user_id: Input should be a valid integer"
    yield (1, {"name": 5}), {}, "user.name: Input should be a valid string"
    yield (1, {"name": "a"}), {"count": 0}, "count: Input should be greater than 0"
    yield (1, {"name": "a"}, 1, object()), {}, "anything: input was not a valid JSON value"
    yield (1, {"name": "a"}, 1, {1, 2}), {}, "annotate the parameter"


@pytest.mark.parametrize(("args", "kwargs", "message"), list(wrong_calls()))
@on_loop
async def test_wrong_arguments_are_refused_at_enqueue(
    jobs: Jobs, args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    @jobs.task
    async def send(
        ctx: JobContext,
        user_id: int,
        user: User,
        count: Annotated[int, Field(gt=0)] = 1,
        anything: Any = None,
    ) -> None: ...

    enqueue: Any = send.enqueue
    async with jobs:
        for kind in (TypeError, ValueError, InvalidArguments):
            with pytest.raises(kind, match="send") as caught:
                await enqueue(*args, **kwargs)
            assert message in str(caught.value)
        assert await jobs.records() == []


def test_what_says_nothing_of_its_type_must_be_json(jobs: Jobs) -> None:
    @jobs.task
    def loose(values: list, table: dict, pair: list[Any] | None = None) -> None: ...  # type: ignore[type-arg]

    loose.arguments.encode(([1, "a", None], {"k": [1.5]}), {})
    wrong: list[tuple[Any, ...]] = [([date.min], {}), ([], {"k": date.min}), ([], {}, [b""])]
    for args in wrong:
        with pytest.raises(InvalidArguments, match="not a valid JSON value"):
            loose.arguments.encode(args, {})


@on_loop
async def test_payloads_have_a_limit(tmp_path: Path) -> None:
    jobs = Jobs(f"sqlite:///{tmp_path / 'jobs.db'}", payload_limit=1000)

    @jobs.task
    async def swallow(text: str) -> None: ...

    @jobs.task
    async def vomit(size: int) -> str:
        return "x" * size

    async with working(jobs):
        await (await swallow.enqueue("x" * 900)).result(20)
        with pytest.raises(PayloadTooLarge, match="limit of 1000"):
            await swallow.enqueue("x" * 1000)
        assert len(await (await vomit.enqueue(900)).result(20)) == 900
        with pytest.raises(JobFailed, match=r"PayloadTooLarge.*limit of 1000"):
            await (await vomit.enqueue(1000)).result(20)


@on_loop
async def test_results_that_do_not_fit_fail_at_once(jobs: Jobs) -> None:
    @jobs.task(retries=5)
    async def lies() -> int:
        return "text"  # type: ignore[return-value]

    @jobs.task(retries=5)
    async def nothing() -> Point:
        return None  # type: ignore[return-value]

    @jobs.task(retries=5)
    async def unspeakable() -> Any:
        return object()

    async with working(jobs):
        for task in (lies, nothing, unspeakable):
            job = await task.enqueue()
            with pytest.raises(JobFailed) as caught:
                await job.result(20)
            assert caught.value.type == "pelton.jobs.errors.InvalidResult"
            assert (await job.info()).attempt == 1


@on_loop
async def test_results_come_back_typed(jobs: Jobs) -> None:
    @jobs.task
    async def move(point: Point, when: datetime) -> dict[str, Point]:
        assert isinstance(when, datetime)
        return {"moved": Point(point.x + 1, point.raw)}

    @jobs.task
    def untyped(user: User):  # type: ignore[no-untyped-def]
        return {"user": user, "at": (1, 2)}

    async with working(jobs):
        job = await move.enqueue(Point(1.0, b"\xff"), datetime(2026, 1, 1, tzinfo=UTC))
        assert await job.result(20) == {"moved": Point(2.0, b"\xff")}
        # Another handle, made from the id alone, knows the type by the task's name.
        assert await (await jobs.job(job.id)).result(20) == {"moved": Point(2.0, b"\xff")}
        job = await untyped.enqueue(User(name="Ada"))
        assert await job.result(20) == {"user": {"name": "Ada", "addresses": []}, "at": [1, 2]}


def test_annotations_that_cannot_travel_name_the_argument(jobs: Jobs) -> None:
    class Socket: ...

    @jobs.task
    def bad(ok: int, peer: Socket) -> None: ...

    @jobs.task
    def worse() -> Socket:
        return Socket()

    @jobs.task
    def missing(value: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

    with pytest.raises(TypeError, match=r"argument 'peer' cannot travel.*Socket"):
        _ = bad.arguments
    with pytest.raises(TypeError, match=r"result cannot travel.*Socket"):
        _ = worse.returned
    with pytest.raises(TypeError, match="Nowhere"):
        _ = missing.arguments
