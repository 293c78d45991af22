"""The header fields that protect users, as an app has them."""

from __future__ import annotations

import pytest

from pelton.security import API_POLICY, SecurityHeaders
from pelton.web import FastAPI, Response, WebSocket
from pelton.web.testclient import TestClient


def client(base_url: str = "http://testserver", **options: object) -> TestClient:
    app = FastAPI()
    app.add_middleware(SecurityHeaders, **options)

    @app.get("/")
    async def read() -> int:
        return 1

    @app.get("/framed")
    async def framed() -> Response:
        return Response("may be framed", headers={"X-Frame-Options": "SAMEORIGIN"})

    @app.websocket("/ws")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    return TestClient(app, base_url=base_url)


def test_every_answer_has_the_fields() -> None:
    for path in ("/", "/missing"):
        headers = client().get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "strict-origin-when-cross-origin"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "content-security-policy" not in headers
        assert "strict-transport-security" not in headers


def test_transport_security_is_for_https() -> None:
    headers = client("https://testserver").get("/").headers
    assert headers["strict-transport-security"] == "max-age=31536000"
    headers = client("https://testserver", hsts_seconds=60, hsts_subdomains=True).get("/").headers
    assert headers["strict-transport-security"] == "max-age=60; includeSubDomains"
    assert "strict-transport-security" not in (
        client("https://testserver", hsts_seconds=None).get("/").headers
    )


def test_what_the_app_says_itself_stays() -> None:
    headers = client().get("/framed").headers
    assert headers.get_list("x-frame-options") == ["SAMEORIGIN"]


def test_fields_are_chosen() -> None:
    headers = (
        client(
            content_security_policy=API_POLICY,
            permissions_policy="camera=()",
            frame_options=None,
            headers={"X-Own": "value", "Referrer-Policy": "no-referrer"},
        )
        .get("/")
        .headers
    )
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["permissions-policy"] == "camera=()"
    assert headers["x-own"] == "value"
    assert headers["referrer-policy"] == "no-referrer"
    assert "x-frame-options" not in headers


def test_websockets_pass() -> None:
    with client().websocket_connect("/ws") as session:
        assert session.receive_text() == "hello"


def test_a_value_of_two_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="one line"):
        SecurityHeaders(FastAPI(), headers={"X-Own": "a\r\nset-cookie: b"})
