"""What becomes of objects on their way to JSON."""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from pelton.web.encoders import jsonable_encoder


class Kind(Enum):
    one = "uno"


@dataclass
class Point:
    x: int
    when: datetime


class Named(BaseModel):
    given: str = Field(alias="givenName")
    other: int | None = None


class Plain:
    def __init__(self) -> None:
        self.a = 1
        self.b = None


MOMENT = datetime(2020, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (MOMENT, "2020-01-02T00:00:00+00:00"),
        (timedelta(minutes=1), 60.0),
        (Decimal("3"), 3),
        (Decimal("3.5"), 3.5),
        (Kind.one, "uno"),
        (PurePosixPath("/a"), "/a"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"text", "text"),
        (deque([1]), [1]),
        ({Kind.one: {1}}, {"uno": [1]}),
        (Point(1, MOMENT), {"x": 1, "when": "2020-01-02T00:00:00+00:00"}),
        (Named(givenName="n"), {"givenName": "n", "other": None}),
        (Plain(), {"a": 1, "b": None}),
        ({"_sa_state": 1, "kept": 2}, {"kept": 2}),
    ],
)
def test_values(value: Any, expected: Any) -> None:
    assert jsonable_encoder(value) == expected


def test_selections() -> None:
    model = Named(givenName="n")

    assert jsonable_encoder(model, by_alias=False, exclude_none=True) == {"given": "n"}
    assert jsonable_encoder(model, exclude_unset=True) == {"givenName": "n"}
    assert jsonable_encoder({"a": 1, "b": 2}, include={"a"}) == {"a": 1}
    assert jsonable_encoder({"a": 1, "b": 2}, exclude=["a"]) == {"b": 2}  # type: ignore[arg-type]
    assert jsonable_encoder([MOMENT], custom_encoder={datetime: lambda _: "now"}) == ["now"]


def test_what_cannot_be_encoded() -> None:
    with pytest.raises(ValueError, match="object is not iterable"):
        jsonable_encoder(object())
