"""What the core reads and writes by itself: the very same as Pydantic, or nothing."""

from __future__ import annotations

import json
import random
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    ValidationError,
    computed_field,
    create_model,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_core import from_json, to_json

from pelton.web import Body, Depends, FastAPI
from pelton.web._plan_json import reads_json_alike, writer_of
from pelton.web.fields import create_model_field
from tests.web.plan_paths import check


class Color(Enum):
    red = "red"
    blue = "blue"


class Level(IntEnum):
    low = 1
    high = 2


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int = 1


class Forbid(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)
    a: int = Field(1, alias="A")


TYPES: list[Any] = [
    *(str, int, float, bool, None, Any, date, datetime, time, timedelta, UUID, Color, Level),
    *(list[int], list[Any], dict[str, float], dict[str, Any], int | None, str | None, int | str),
    *(float | int, bool | int, str | bool | None, Literal["x", "1"], Cat, Extra, Forbid),
    Annotated[Cat | Dog, Field(discriminator="kind")],
    Annotated[str, Field(min_length=1, pattern="^[a-z1]")],
    Annotated[int, Field(ge=0, multiple_of=2)],
    Annotated[float, Field(gt=0, allow_inf_nan=False)],
]

VALUES = [
    *("null", "true", "false", "0", "1", "2", "-3", "1.0", "2.5", "1e400", "NaN", "-0.0", "1e2"),
    *("123456789012345678901234567890", '""', '"x"', '"1"', '" 1.5 "', '"true"', '"red"', '"on"'),
    *('"2024-02-29"', '"2024-02-29T10:00:00Z"', '"10:30"', '"P1DT2H"', '"\\u00e9"', "1700000000"),
    *('"12345678-1234-5678-1234-567812345678"', "[]", "[1, 2]", '["1", 2.0]', "{}", '{"a": 1}'),
    *('{"a": 1, "a": 2}', '{"A": "7", "b": 2}', '{"kind": "cat"}', '{"kind": "dog", "name": "n"}'),
    *('{"kind": "cat", "lives": "3"}', '{"x": 1.5, "y": "2"}', '{"a": {"b": [null]}}', "1.5e-3"),
]


def outcome(validate: Any, given: Any, **options: Any) -> Any:
    try:
        return ("valid", repr(validate(given, **options)))
    except ValidationError:
        return "invalid"


def read_both_ways(field: Any, text: str) -> bool:
    """Whether it is valid, and then the same in both ways."""
    validator = field.type_adapter.validator
    found = outcome(validator.validate_json, text)
    if found != "invalid":
        expected = outcome(validator.validate_python, from_json(text), from_attributes=True)
        assert found == expected, text
    return bool(found != "invalid")


@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_text_is_read_as_if_parsed_first(type_: Any) -> None:
    """Where the text is valid; what is not is parsed again for its errors."""
    field = create_model_field(name="field", type_=type_)
    assert reads_json_alike(field)
    assert sum(read_both_ways(field, text) for text in VALUES)


def test_models_of_random_fields_are_read_alike() -> None:
    made = random.Random(7)
    valid = 0
    for _ in range(300):
        fields: dict[str, Any] = {}
        for at in range(made.randint(1, 4)):
            type_ = made.choice(TYPES)
            optional = type_ is not None and made.random() < 0.3
            fields[f"f{at}"] = (type_ | None, None) if optional else (type_, ...)
        field = create_model_field(name="field", type_=create_model("Made", **fields))
        if not reads_json_alike(field):
            continue
        for _ in range(20):
            pairs = ", ".join(f'"{name}": {made.choice(VALUES)}' for name in fields)
            valid += read_both_ways(field, "{" + pairs + "}")
    assert valid > 50


class Validated(BaseModel):
    a: Annotated[int, AfterValidator(lambda value: value + 1)]


class Node(BaseModel):
    below: list[Node] = []


class StrictModel(BaseModel):
    model_config = ConfigDict(strict=True)
    day: date


@pytest.mark.parametrize(
    "type_",
    [
        *(Decimal, bytes, set[int], tuple[int, int], date | str, Cat | Dog, Validated, Node),
        *(StrictModel, Annotated[int, Field(strict=True)], dict[int, str], Literal[1, 2]),
    ],
    ids=str,
)
def test_where_text_and_objects_may_differ_it_is_parsed_first(type_: Any) -> None:
    assert not reads_json_alike(create_model_field(name="field", type_=type_))


# --- whole requests ---


class Line(BaseModel):
    sku: str = Field(min_length=2)
    price: float = Field(gt=0)


class Order(BaseModel):
    customer: str
    lines: list[Line] = []
    note: str | None = None


app = FastAPI()


@app.post("/orders")
async def order(order: Order, q: int = 0) -> Order:
    return order


async def taken(order: Order) -> Order:
    return order


@app.post("/twice")
async def twice(order: Order, again: Order = Depends(taken)) -> Any:
    return [order, again, order is again]


@app.post("/list")
async def of_list(lines: list[Line]) -> list[Line]:
    return lines


@app.post("/embedded")
async def embedded(line: Line = Body(embed=True)) -> Line:
    return line


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("path", ["/orders", "/orders?q=x", "/twice", "/list", "/embedded"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"customer": "Ada", "lines": [{"sku": "ab", "price": 2}], "more": 1}',
        b'{"customer": "Ada", "lines": [{"sku": "a", "price": -2}], "customer": "B"}',
        b'[{"sku": "ab", "price": "2.5"}]',
        b'{"line": {"sku": "ab", "price": 1e400}}',
        b'{"customer": "\\ud800"}',
        b'{"customer": "Ada"} trailing',
        b'{"customer": NaN}',
        b"",
        b"null",
        b"\xff",
        '{"customer": "é"}'.encode("utf-16"),
    ],
)
def test_bodies(path: str, body: bytes) -> None:
    check(app, "POST", path, headers=JSON, body=body)


# --- writing ---


class Inner(BaseModel):
    text: str
    number: float
    none: None = None


class Outer(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    name: str = Field(alias="the name")
    count: int
    flag: bool | None
    inner: Inner
    several: list[Inner] = []
    by_key: dict[str, list[int]] = {}
    either: int | str | Inner | None = None
    anything: Any = None
    checked: Annotated[int, AfterValidator(lambda value: value)] = 1

    @field_validator("count")
    @classmethod
    def small(cls, value: int) -> int:
        return value


class Derived(Outer):
    secret: str = "hidden"


class Computed(BaseModel):
    a: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return self.a * 2


class Serialized(BaseModel):
    a: int

    @field_serializer("a")
    def write(self, value: int) -> str:
        return f"<{value}>"


class Account(BaseModel):
    id: int
    password_hash: str = "hidden"


class Owned(BaseModel):
    """A serializer of its own on a field whose type is a model, used twice: a reference."""

    owner: Account
    other: Account

    @field_serializer("owner")
    def write(self, value: Account) -> dict[str, int]:
        return {"id": value.id}


Shortened = Annotated[Account, PlainSerializer(lambda account: account.id)]


class Checked(BaseModel):
    a: int

    @model_validator(mode="after")
    def raise_it(self) -> Checked:
        self.a = max(self.a, 10)
        return self


class Hidden(BaseModel):
    a: int = 1
    b: int = Field(2, exclude=True)


def outer(**values: Any) -> Outer:
    inner = Inner(text='quote " and \n', number=0.1)
    return Outer(**{"name": "é", "count": 3, "flag": True, "inner": inner, **values})


def constructed(**values: Any) -> Outer:
    return Outer.model_construct(**{**outer().__dict__, **values})


class Unordered:
    """Builds an instance whose values stand in another order, with one that is no field."""

    @staticmethod
    def make() -> Outer:
        made = outer()
        made.__dict__["cached"] = 1
        made.__dict__["name"] = made.__dict__.pop("name")
        return made


OBJECTS: list[tuple[Any, Any]] = [
    (Outer, outer()),
    (Outer, outer(flag=None, either="x", anything=[1, {"a": None}], by_key={"k": [1, 2]})),
    (Outer, outer(either=Inner(text="", number=-0.0), several=[Inner(text="a", number=3)] * 2)),
    (Outer, outer(count=2**70, either=True)),
    (Outer, Derived(**outer().model_dump(by_alias=True))),
    (Outer, Unordered.make()),
    (Outer, outer(anything=float("inf"))),
    (Outer, outer(anything={1: 2})),
    (Outer, outer(anything=date(2024, 2, 29))),
    (Outer, {"the name": "n", "count": "3", "flag": None, "inner": {"text": "", "number": 1}}),
    (Outer, {"the name": 3}),
    (list[Outer], [outer(), outer(count=1)]),
    (list[Outer], [outer(), {"wrong": 1}]),
    (list[Outer] | None, None),
    (dict[str, int], {"a": 1, "b": True}),
    (dict[str, int | str], {"a": 1, "b": "2"}),
    (dict[str, float], {"tiny": 1e-9, "huge": 1e300, "whole": 5.0, "third": 1 / 3, "int": 1}),
    (dict[str, float], {"edge": 1e15, "below": 999999999999999.9, "small": 0.0001, "less": 9e-5}),
    (list[Annotated[int, Field(le=2)]], [1, 3]),
    (Computed, Computed(a=1)),
    (Serialized, Serialized(a=1)),
    (Owned, Owned(owner=Account(id=1), other=Account(id=2))),
    (Shortened, Account(id=1)),
    (list[Shortened], [Account(id=1)]),
    (dict[str, Account | Shortened], {"a": Account(id=1)}),
    (Checked, Checked(a=1)),
    (Hidden, Hidden.model_validate({})),
    (Extra, Extra(a=1, b=[2])),  # type: ignore[call-arg]
    (RootModel[list[int]], RootModel[list[int]]([1])),
    (Node, Node(below=[Node()])),
    (Annotated[int, PlainSerializer(lambda value: "x")], 1),
    (str, "text"),
    (str, "\ud800"),
    (Any, {"a": [1, 2.5, None, "x"]}),
    (Any, object()),
]


@pytest.mark.parametrize(("type_", "value"), OBJECTS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("by_alias", [True, False])
def test_results_are_written_as_pydantic_writes_them(
    type_: Any, value: Any, by_alias: bool
) -> None:
    written = FastAPI()

    @written.get("/", response_model=type_, response_model_by_alias=by_alias)
    async def endpoint() -> Any:
        return value

    @written.get("/blocking", response_model=type_, response_model_by_alias=by_alias)
    def blocking() -> Any:
        return value

    check(written, "GET", "/")
    check(written, "GET", "/blocking")


@pytest.mark.parametrize("values", [{"count": "3"}, {"inner": {}}, {"flag": 1}, {"name": None}])
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_instances_that_do_not_keep_their_types_are_pydantics(values: dict[str, Any]) -> None:
    written = FastAPI()

    @written.get("/")
    async def endpoint() -> Outer:
        return constructed(**values)

    check(written, "GET", "/")


def test_which_models_are_written_here() -> None:
    def written_here(type_: Any) -> bool:
        field = create_model_field(name="field", type_=type_, mode="serialization")
        return writer_of(field, by_alias=True) is not None

    assert all(
        map(written_here, [Outer, list[Outer], dict[str, int | str], str, Any, Inner | None])
    )
    assert not any(
        map(
            written_here,
            [Computed, Serialized, Checked, Hidden, Extra, RootModel[int], Node, Decimal, set[int]],
        )
    )
    assert not any(map(written_here, [Owned, Shortened, list[Shortened]]))


def test_numbers_are_written_as_pydantic_writes_them() -> None:
    made = random.Random(3)
    numbers = [made.uniform(-1, 1) * 10 ** made.randint(-8, 18) for _ in range(2000)]
    numbers += [made.randint(-(10**9), 10**9) / 10 ** made.randint(0, 4) for _ in range(2000)]
    numbers += [0.07, 0.1, 0.29, 1.005, 1e14 - 0.01, 1e12 + 0.01, 2**53 / 100, -0.01, 5e-324]
    written = FastAPI()

    @written.get("/")
    async def endpoint() -> list[float]:
        return numbers

    assert check(written, "GET", "/").body == to_json(numbers)
    assert json.loads(to_json(numbers)) == numbers
