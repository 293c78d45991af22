"""Sessions, trusted hosts and the redirect to HTTPS, as an app's author uses them."""

from __future__ import annotations

import base64
import json
from typing import Any

import itsdangerous
import pytest
from starlette.middleware.sessions import SessionMiddleware

from pelton.web import FastAPI, Request
from pelton.web.middleware.httpsredirect import HTTPSRedirectMiddleware
from pelton.web.middleware.trustedhost import TrustedHostMiddleware
from pelton.web.testclient import TestClient


def shop(**options: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(SessionMiddleware, secret_key="a secret of the test", **options)

    @app.post("/login/{user}")
    async def login(user: str, request: Request) -> None:
        request.session["user"] = user

    @app.get("/user")
    async def user(request: Request) -> str | None:
        return request.session.get("user")

    @app.post("/logout")
    async def logout(request: Request) -> None:
        request.session.clear()

    return app


def test_a_session_lasts_until_it_is_cleared() -> None:
    client = TestClient(shop())
    assert client.get("/user").json() is None
    client.post("/login/ada")
    assert client.get("/user").json() == "ada"
    client.post("/logout")
    assert client.get("/user").json() is None


def test_a_session_is_its_client_s_own() -> None:
    app = shop()
    first, second = TestClient(app), TestClient(app)
    first.post("/login/ada")
    second.post("/login/grace")
    assert (first.get("/user").json(), second.get("/user").json()) == ("ada", "grace")


def test_its_cookie_says_how_it_is_kept() -> None:
    cookie = TestClient(shop()).post("/login/ada").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "max-age=1209600" in cookie
    assert "secure" not in cookie
    secure = TestClient(shop(https_only=True, same_site="strict", max_age=None))
    cookie = secure.post("/login/ada").headers["set-cookie"].lower()
    assert "; secure" in cookie
    assert "samesite=strict" in cookie
    assert "max-age" not in cookie


def test_a_session_that_was_tampered_with_is_none() -> None:
    client = TestClient(shop())
    client.post("/login/ada")
    session = client.cookies["session"]
    forged = base64.b64encode(json.dumps({"user": "root"}).encode()).decode()
    signature = session.partition(".")[2]
    for cookie in (f"{forged}.{signature}", session[:-1], f"{session}x", "", "%00", forged):
        fresh = TestClient(shop())
        assert fresh.get("/user", headers={"cookie": f"session={cookie}"}).json() is None
    # Signed by another key.
    other = itsdangerous.TimestampSigner("another key").sign(forged).decode()
    assert TestClient(shop()).get("/user", headers={"cookie": f"session={other}"}).json() is None


def test_a_session_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    client = TestClient(shop(max_age=60))
    client.post("/login/ada")
    cookie = {"cookie": f"session={client.cookies['session']}"}
    fresh = TestClient(shop(max_age=60))
    assert fresh.get("/user", headers=cookie).json() == "ada"
    now = itsdangerous.TimestampSigner.get_timestamp
    monkeypatch.setattr(itsdangerous.TimestampSigner, "get_timestamp", lambda self: now(self) + 61)
    assert TestClient(shop(max_age=60)).get("/user", headers=cookie).json() is None


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("example.com", 200),
        ("example.com:8000", 200),
        ("api.example.org", 200),
        ("example.org", 400),
        ("evil.com", 400),
        ("example.com.evil.com", 400),
        ("evilexample.com", 400),
        ("", 400),
    ],
)
def test_hosts_that_are_not_trusted_are_refused(host: str, status: int) -> None:
    app = FastAPI()
    hosts = ["example.com", "*.example.org"]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)

    @app.get("/")
    async def read() -> int:
        return 1

    assert TestClient(app).get("/", headers={"host": host}).status_code == status


def test_a_host_without_www_is_sent_there() -> None:
    app = FastAPI()
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["www.example.com"])
    client = TestClient(app, base_url="http://example.com", follow_redirects=False)
    answer = client.get("/path?query=1")
    assert (answer.status_code, answer.headers["location"]) == (
        307,
        "http://www.example.com/path?query=1",
    )


def test_plain_http_is_sent_to_https() -> None:
    app = FastAPI()
    app.add_middleware(HTTPSRedirectMiddleware)

    @app.get("/path")
    async def read(request: Request) -> str:
        return request.url.scheme

    plain = TestClient(app, base_url="http://shop:8080", follow_redirects=False)
    answer = plain.get("/path?query=1")
    assert answer.status_code == 307
    assert answer.headers["location"] == "https://shop:8080/path?query=1"
    usual = TestClient(app, base_url="http://shop:80", follow_redirects=False)
    assert usual.get("/path").headers["location"] == "https://shop/path"
    assert TestClient(app, base_url="https://shop").get("/path").json() == "https"
