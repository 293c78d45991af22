"""The document of a sample app, compared key for key, and the pages that show it."""

import json
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, computed_field

from pelton.web import APIRouter, Body, Cookie, FastAPI, Form, Header, Query, UploadFile
from pelton.web.applications import ASSETS_URL
from pelton.web.openapi import assets
from pelton.web.testclient import TestClient


class Color(Enum):
    red = "red"
    blue = "blue"


class Part(BaseModel):
    weight: float = Field(gt=0, description="In grams")


class Item(BaseModel):
    """A thing.\f Not documented."""

    name: str = "none"
    color: Color
    parts: list[Part] = []

    @computed_field
    def heavy(self) -> bool:
        return False


class Problem(BaseModel):
    message: str


class Filters(BaseModel):
    limit: int = Field(10, le=100)
    order_by: str | None = None


def sample_app() -> FastAPI:
    app = FastAPI(
        title="Sample",
        version="1.2.3",
        summary="All kinds",
        contact={"name": "Ann", "url": "http://a.example/x"},
        license_info={"name": "MIT"},
        openapi_tags=[{"name": "items", "description": "Things"}],
        servers=[{"url": "/v1"}],
    )
    callbacks = APIRouter()

    @callbacks.post("{$callback_url}/done")
    def done(problem: Problem) -> None: ...

    @app.put(
        "/items/{item_id}",
        tags=["items"],
        status_code=202,
        responses={404: {"model": Problem}, "5XX": {"description": "Ours"}},
        callbacks=callbacks.routes,
        deprecated=True,
        openapi_extra={"x-cost": 3},
    )
    def replace(
        item_id: int,
        item: Annotated[Item, Body(examples=[{"color": "red"}])],
        filters: Annotated[Filters, Query()],
        x_token: Annotated[list[str] | None, Header()] = None,
        session: Annotated[str, Cookie(deprecated=True)] = "s",
        hidden: Annotated[int, Query(include_in_schema=False)] = 0,
    ) -> Item:
        """Replaces it."""
        return item

    @app.post("/upload")
    def upload(picture: UploadFile, title: Annotated[str, Form(max_length=9)]) -> None: ...

    @app.webhooks.post("changed")
    def changed(item: Item) -> None: ...

    return app


def test_the_document_is_as_expected() -> None:
    document = TestClient(sample_app()).get("/openapi.json").json()
    expected = json.loads((Path(__file__).parent / "sample.json").read_text())

    assert document == expected
    assert list(document) == list(expected)


def test_the_document_is_made_again_when_routes_are_added() -> None:
    app = FastAPI()
    before = app.openapi()

    @app.get("/x")
    def read() -> None: ...

    assert app.openapi() is not before
    assert "/x" in app.openapi()["paths"]
    assert app.openapi() is app.openapi()


def test_one_schema_for_input_and_output_if_wanted() -> None:
    class Plain(BaseModel):
        # Read from numbers and texts, written as text.
        price: Decimal

    def names(separate: bool) -> set[str]:
        app = FastAPI(separate_input_output_schemas=separate)

        @app.post("/")
        def echo(item: Plain) -> Plain:
            return item

        return {name for name in app.openapi()["components"]["schemas"] if "Plain" in name}

    assert names(True) == {"Plain-Input", "Plain-Output"}
    assert names(False) == {"Plain"}


def test_an_operation_id_given_twice_is_warned_of() -> None:
    app = FastAPI()

    @app.get("/a", operation_id="same")
    @app.get("/b", operation_id="same")
    def read() -> None: ...

    with pytest.warns(UserWarning, match="Duplicate Operation ID same for function read"):
        app.openapi()


def test_pages_use_the_network_without_local_assets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "assets_directory", lambda: None)
    app = FastAPI(title="T", swagger_ui_parameters={"x": "</script>"})
    client = TestClient(app, root_path="/proxy")

    page = client.get("/docs").text
    assert "swagger-ui-dist@5/swagger-ui-bundle.js" in page
    assert "url: '/proxy/openapi.json'" in page
    assert "window.location.origin + '/proxy/docs/oauth2-redirect'" in page
    assert "\\u003c/script\\u003e" in page
    redoc = client.get("/redoc").text
    assert 'spec-url="/proxy/openapi.json"' in redoc
    assert "redoc@2" in redoc
    assert "swaggerUIRedirectOauth2" in client.get("/docs/oauth2-redirect").text


def test_pages_use_local_assets_where_there_are_some(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (assets.SWAGGER_JS, assets.SWAGGER_CSS, assets.REDOC_JS, assets.FAVICON):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(assets, "assets_directory", lambda: tmp_path)
    client = TestClient(FastAPI())

    for page, script in (("/docs", assets.SWAGGER_JS), ("/redoc", assets.REDOC_JS)):
        text = client.get(page).text
        assert f'src="{ASSETS_URL}/{script}"' in text
        assert "https://" not in text
        assert client.get(f"{ASSETS_URL}/{script}").text == script


def test_no_document_no_pages() -> None:
    app = FastAPI(openapi_url=None)
    client = TestClient(app)

    codes: list[Any] = [client.get(path).status_code for path in ("/openapi.json", "/docs")]
    assert codes == [404, 404]
