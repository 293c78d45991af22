"""Who may see the dashboard, and who may act through it."""

from __future__ import annotations

import pytest

from pelton.dashboard import Dashboard
from tests.dashboard.board import ACTION, client_of, measure

TOKEN = "let me in"
PAGE = "/_pelton/"
API = "/_pelton/api/overview"
ACT = "/_pelton/api/queues/0/pause?name=mail"


def dashboard(token: str | None = None) -> Dashboard:
    return Dashboard([], measure, token=token)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize(
    "name", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "app.localhost"]
)
def test_clients_of_this_machine_may_look(host: str, name: str) -> None:
    client = client_of(dashboard(), host, name)
    assert client.get(PAGE).status_code == 200
    assert client.get(API).status_code == 200


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize(
    ("host", "name", "headers"),
    [
        ("192.0.2.7", "127.0.0.1:8000", {}),
        ("127.0.0.1", "evil.example", {}),  # a name that an attacker points here
        ("127.0.0.1", "127.0.0.1.evil.example", {}),
        ("127.0.0.1", "127.0.0.1:8000", {"x-forwarded-for": "127.0.0.1"}),
        ("127.0.0.1", "127.0.0.1:8000", {"forwarded": "for=192.0.2.7"}),
        ("testclient", "127.0.0.1:8000", {}),
    ],
)
def test_others_may_not(token: str | None, host: str, name: str, headers: dict[str, str]) -> None:
    client = client_of(dashboard(token), host, name)
    answer = client.get(API, headers=headers)
    assert answer.status_code == (401 if token else 403)
    assert "token" in answer.json()["detail"]
    page = client.get(PAGE, headers=headers)
    assert page.status_code == (303 if token else 403)
    if token:
        assert page.headers["location"] == "/_pelton/login"
    assert client.post(ACT, headers=headers | ACTION).status_code == (401 if token else 403)


def test_the_token_opens_it_from_elsewhere() -> None:
    client = client_of(dashboard(TOKEN), "192.0.2.7", "shop.example")
    for given, status in ((TOKEN, 200), ("let me out", 401), ("", 401)):
        answer = client.get(API, headers={"authorization": f"Bearer {given}"})
        assert answer.status_code == status


def test_an_empty_token_is_no_token() -> None:
    client = client_of(dashboard(""), "192.0.2.7", "shop.example")
    assert client.get(API, headers={"authorization": "Bearer "}).status_code == 403


def test_logging_in_sets_a_cookie_that_is_not_the_token() -> None:
    client = client_of(dashboard(TOKEN), "192.0.2.7", "shop.example")
    assert client.get("/_pelton/login").status_code == 200
    assert client.get("/_pelton/static/style.css").status_code == 200
    wrong = client.post("/_pelton/login", data={"token": "let me out"})
    assert wrong.headers["location"] == "/_pelton/login?wrong=1"
    assert "set-cookie" not in wrong.headers
    right = client.post("/_pelton/login", data={"token": TOKEN})
    assert right.headers["location"] == PAGE
    cookie = right.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=strict", "path=/_pelton"))
    assert "let" not in cookie
    assert client.get(API).status_code == 200


def test_a_login_has_a_limit() -> None:
    client = client_of(dashboard(TOKEN), "192.0.2.7", "shop.example")
    assert client.post("/_pelton/login", data={"token": "x" * 10_000}).status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        {},
        ACTION | {"origin": "http://evil.example"},
        ACTION | {"origin": "null"},
        ACTION | {"sec-fetch-site": "cross-site"},
        ACTION | {"sec-fetch-site": "same-site"},
    ],
)
def test_actions_of_other_sites_are_refused(headers: dict[str, str]) -> None:
    answer = client_of(dashboard()).post(ACT, headers=headers)
    assert answer.status_code == 403
    assert "same origin" in answer.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        ACTION,
        ACTION | {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"},
    ],
)
def test_actions_of_the_page_and_of_tools_are_not(headers: dict[str, str]) -> None:
    # There is no broker 0 here: the guard let it pass.
    assert client_of(dashboard()).post(ACT, headers=headers).status_code == 404


def test_every_answer_forbids_what_the_page_does_not_need() -> None:
    client = client_of(dashboard())
    for path in (PAGE, API, "/_pelton/static/main.js", "/_pelton/static/none.js"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["../app.py", "..%2fapp.py", "%2e%2e/guard.py", "nothing.js", "", ".", "style.css/"]
)
def test_only_the_pages_own_files_are_served(path: str) -> None:
    assert client_of(dashboard()).get(f"/_pelton/static/{path}").status_code == 404
