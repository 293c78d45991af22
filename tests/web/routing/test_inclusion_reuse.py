"""What an inclusion takes over from the route as it was declared, and when it must not."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from pelton.web import APIRouter, Depends, FastAPI
from pelton.web.fields import create_model_field
from pelton.web.routing import APIRoute


def included(router: APIRouter, **options: Any) -> FastAPI:
    app = FastAPI()
    app.include_router(router, **options)
    return app


def test_dependencies_of_the_inclusion_come_first() -> None:
    calls: list[str] = []
    router = APIRouter(dependencies=[Depends(lambda: calls.append("router"))])

    @router.get("/", dependencies=[Depends(lambda: calls.append("route"))])
    def endpoint(own: None = Depends(lambda: calls.append("own"))) -> None: ...

    app = included(router, prefix="/in", dependencies=[Depends(lambda: calls.append("inclusion"))])
    assert TestClient(app).get("/in/").status_code == 200
    assert calls == ["inclusion", "router", "route", "own"]


def test_dependencies_that_were_added_later_are_called() -> None:
    calls: list[str] = []
    router = APIRouter()

    @router.get("/")
    def endpoint() -> None: ...

    route = router.routes[0]
    assert isinstance(route, APIRoute)
    route.dependencies.append(Depends(lambda: calls.append("later")))
    assert TestClient(included(router, prefix="/in")).get("/in/").status_code == 200
    assert calls == ["later"]


def test_a_prefix_with_parameters_is_read_again() -> None:
    router = APIRouter()

    @router.get("/items")
    def endpoint(tenant: int) -> int:
        return tenant

    client = TestClient(included(router, prefix="/{tenant}"))
    assert client.get("/7/items").json() == 7
    assert client.get("/x/items").json()["detail"][0]["loc"] == ["path", "tenant"]
    assert TestClient(included(router)).get("/items?tenant=8").json() == 8


def test_equal_declarations_share_what_pydantic_made_of_them() -> None:
    one, two = (create_model_field(name=name, type_=int | str) for name in "ab")
    other = create_model_field(name="c", type_=str | int)
    constrained = create_model_field(name="d", type_=int | str, default=1)
    assert one.type_adapter is two.type_adapter
    assert one.type_adapter is not other.type_adapter
    assert one.type_adapter is not constrained.type_adapter
