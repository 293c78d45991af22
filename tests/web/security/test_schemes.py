"""Security schemes: what they take from a request, what they refuse, how they are documented."""

from base64 import b64encode
from typing import Annotated, Any

import pytest

from pelton.web import Depends, FastAPI, Security
from pelton.web.security import (
    APIKeyCookie,
    APIKeyHeader,
    APIKeyQuery,
    HTTPBasic,
    HTTPBearer,
    HTTPDigest,
    OAuth2PasswordBearer,
    OAuth2PasswordRequestForm,
    OpenIdConnect,
    SecurityScopes,
)
from pelton.web.security.base import SecurityBase
from pelton.web.testclient import TestClient


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


SCHEMES: list[tuple[SecurityBase, dict[str, Any], Any]] = [
    (APIKeyQuery(name="key"), {"params": {"key": "k"}}, "k"),
    (APIKeyHeader(name="x-key"), {"headers": {"x-key": "k"}}, "k"),
    (APIKeyCookie(name="key"), {"headers": {"cookie": "key=k"}}, "k"),
    (
        HTTPBasic(realm="here"),
        {"headers": {"authorization": basic("ann:pw:1")}},
        {"username": "ann", "password": "pw:1"},
    ),
    (
        HTTPBearer(),
        {"headers": {"authorization": "bearer t"}},
        {"scheme": "bearer", "credentials": "t"},
    ),
    (
        HTTPDigest(),
        {"headers": {"authorization": "Digest x=1"}},
        {"scheme": "Digest", "credentials": "x=1"},
    ),
    (OAuth2PasswordBearer("/token"), {"headers": {"authorization": "Bearer t"}}, "t"),
    (
        OpenIdConnect(openIdConnectUrl="/openid"),
        {"headers": {"authorization": "Bearer t"}},
        "Bearer t",
    ),
]


@pytest.mark.parametrize(("scheme", "request_options", "expected"), SCHEMES)
def test_credentials_are_read_or_refused(
    scheme: SecurityBase, request_options: dict[str, Any], expected: Any
) -> None:
    app = FastAPI()

    @app.get("/")
    def read(credentials: Annotated[Any, Security(scheme)]) -> Any:
        return credentials

    client = TestClient(app)

    assert client.get("/", **request_options).json() == expected
    refused = client.get("/")
    assert (refused.status_code, refused.json()) == (401, {"detail": "Not authenticated"})
    assert "www-authenticate" in refused.headers
    document = client.get("/openapi.json").json()
    assert list(document["components"]["securitySchemes"]) == [scheme.scheme_name]
    assert document["paths"]["/"]["get"]["security"] == [{scheme.scheme_name: []}]


def test_nothing_is_raised_without_auto_error() -> None:
    app = FastAPI()

    @app.get("/")
    def read(
        token: Annotated[Any, Depends(OAuth2PasswordBearer("/token", auto_error=False))],
        bearer: Annotated[Any, Depends(HTTPBearer(auto_error=False))],
        key: Annotated[Any, Depends(APIKeyHeader(name="k", auto_error=False))],
    ) -> list[Any]:
        return [token, bearer, key]

    response = TestClient(app).get("/", headers={"authorization": "Basic x"})

    assert response.json() == [None, None, None]


def test_unreadable_basic_credentials_are_refused() -> None:
    app = FastAPI()

    @app.get("/")
    def read(credentials: Annotated[Any, Depends(HTTPBasic())]) -> None: ...

    client = TestClient(app)
    for value in ("Basic !", basic("no colon"), "Basic " + b64encode(b"\xff:").decode()):
        assert client.get("/", headers={"authorization": value}).status_code == 401


def test_the_form_of_the_password_flow_and_scopes() -> None:
    app = FastAPI()
    scheme = OAuth2PasswordBearer("/token", scopes={"read": "Read", "write": "Write"})

    @app.post("/token")
    def login(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> list[Any]:
        return [form.username, form.scopes]

    def user(scopes: SecurityScopes, token: Annotated[str, Depends(scheme)]) -> str:
        return f"{token}: {scopes.scope_str}"

    @app.get("/me")
    def me(name: Annotated[str, Security(user, scopes=["read", "write"])]) -> str:
        return name

    client = TestClient(app)
    form = {"username": "ann", "password": "x", "scope": "read write"}

    assert client.post("/token", data=form).json() == ["ann", ["read", "write"]]
    assert client.post("/token", data={**form, "grant_type": "other"}).status_code == 422
    assert client.get("/me", headers={"authorization": "Bearer t"}).json() == "t: read write"
    security = client.get("/openapi.json").json()["paths"]["/me"]["get"]["security"]
    assert security == [{"OAuth2PasswordBearer": ["read", "write"]}]
