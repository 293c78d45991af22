"""The graph read from an endpoint's signature."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from starlette.requests import Request

from pelton.web import params
from pelton.web.dependencies.analysis import get_dependant
from pelton.web.dependencies.callables import CallKind
from pelton.web.exceptions import DependencyScopeError
from pelton.web.param_functions import Body, Cookie, Depends, Header, Path, Query, Security
from pelton.web.security.scopes import SecurityScopes


class Item(BaseModel):
    name: str


def names(fields: list[Any]) -> list[str]:
    return [field.name for field in fields]


def test_places_follow_names_types_and_marks() -> None:
    async def endpoint(
        item_id: int,
        item: Item,
        request: Request,
        q: str | None = None,
        x_token: str = Header(),
        session: Annotated[str, Cookie()] = "none",
        tags: list[str] = Query(default=[]),
        size: int = Body(1),
    ) -> None: ...

    graph = get_dependant(path="/items/{item_id}", call=endpoint)

    assert names(graph.path_params) == ["item_id"]
    assert names(graph.query_params) == ["q", "tags"]
    assert names(graph.header_params) == ["x_token"]
    assert graph.header_params[0].alias == "x-token"
    assert names(graph.cookie_params) == ["session"]
    assert graph.cookie_params[0].default == "none"
    assert names(graph.body_params) == ["item", "size"]
    assert graph.request_param_name == "request"
    assert graph.kind is CallKind.coroutine


def test_constraints_reach_the_validator() -> None:
    def endpoint(size: Annotated[int, Query(gt=3)]) -> None: ...

    field = get_dependant(path="/", call=endpoint).query_params[0]

    assert field.validate("4") == (4, [])
    value, errors = field.validate("3", loc=("query", "size"))
    assert value is None
    assert errors == [
        {
            "type": "greater_than",
            "loc": ("query", "size"),
            "msg": "Input should be greater than 3",
            "input": "3",
            "ctx": {"gt": 3},
        }
    ]


def test_dependencies_nest_and_carry_scopes() -> None:
    def user(scopes: SecurityScopes) -> str:
        return scopes.scope_str

    def admin(name: Annotated[str, Security(user, scopes=["read"])]) -> str:
        return name

    def endpoint(admin: Annotated[str, Security(admin, scopes=["write"])]) -> None: ...

    graph = get_dependant(path="/", call=endpoint)
    inner = graph.dependencies[0].dependencies[0]

    assert inner.oauth_scopes == ["write", "read"]
    assert inner.security_scopes_param_name == "scopes"
    assert inner.cache_key == (user, ("read", "write"), "")


def test_a_request_wide_generator_cannot_need_a_shorter_lived_one() -> None:
    def short() -> Any:
        yield 1

    def long(value: Annotated[int, Depends(short, scope="function")]) -> Any:
        yield value

    with pytest.raises(DependencyScopeError, match=r'"long" has a scope of "request"'):
        get_dependant(path="/", call=long)


def test_text_annotations_and_unknown_names_are_read_as_far_as_possible() -> None:
    def endpoint(item: "Item", other: "int" = 2) -> "Nowhere":  # type: ignore[name-defined]  # noqa: F821
        raise NotImplementedError

    graph = get_dependant(path="/", call=endpoint)

    assert names(graph.body_params) == ["item"]
    assert graph.query_params[0].field_info.annotation is int


@pytest.mark.parametrize(
    ("annotation", "default", "message"),
    [
        (Annotated[int, Query(3)], None, "default value cannot be set in `Annotated`"),
        (Annotated[int, Query()], Depends(print), "as a default value together"),
        (Annotated[int, Depends(print)], Depends(print), "and default value together"),
        (Annotated[Request, Query()], None, "Cannot specify FastAPI annotation for type"),
        (dict[str, str], Query(), "must be one of the supported types"),
    ],
)
def test_contradictions_are_refused(annotation: Any, default: Any, message: str) -> None:
    def endpoint(value: Any) -> None: ...

    endpoint.__annotations__["value"] = annotation
    if default is not None:
        endpoint.__defaults__ = (default,)

    with pytest.raises(AssertionError, match=message):
        get_dependant(path="/", call=endpoint)


def test_path_parameters_have_no_default() -> None:
    with pytest.raises(AssertionError, match="cannot have a default value"):
        Path("x")
    with pytest.raises(TypeError, match="unexpected keyword argument 'size'"):
        params.Query(size=3)  # type: ignore[call-arg]
