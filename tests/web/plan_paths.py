"""One request on every path that a request can take, and what came of it, to be compared."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from pelton import _core
from pelton.web import FastAPI, _plan


@dataclass
class Outcome:
    """A response, the exception that left the app, and what the app itself noted down."""

    status: int | None
    headers: list[tuple[bytes, bytes]]
    body: bytes
    error: str | None
    notes: list[Any]


@dataclass
class Call:
    """A request; `url` with its query, `headers` in lower case."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    client: str = "testclient"

    @property
    def path(self) -> str:
        return unquote(self.url.partition("?")[0])

    @property
    def query(self) -> bytes:
        return self.url.partition("?")[2].encode()

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        host = [] if "host" in self.headers else [(b"host", b"testserver")]
        return host + [
            (name.encode(), value.encode("latin-1")) for name, value in self.headers.items()
        ]

    def scope(self) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.url.partition("?")[0].encode(),
            "query_string": self.query,
            "root_path": "",
            "headers": self.raw_headers,
            "client": (self.client, 50000),
            "server": ("testserver", 80),
            "state": {},
        }


class Wire:
    """An ASGI `receive` and `send` that keep what was sent."""

    def __init__(self, call: Call) -> None:
        self.status: int | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self._call = call
        self._is_read = False

    async def receive(self) -> dict[str, Any]:
        if self._is_read:
            return {"type": "http.disconnect"}
        self._is_read = True
        return {"type": "http.request", "body": self._call.body, "more_body": False}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(bytes(name), bytes(value)) for name, value in message["headers"]]
        else:
            self.body += message.get("body", b"")


async def through_asgi(app: FastAPI, call: Call, notes: list[Any]) -> Outcome:
    """As an ASGI server calls the app."""
    notes.clear()
    wire = Wire(call)
    error = None
    try:
        await app(call.scope(), wire.receive, wire.send)
    except Exception as raised:
        error = repr(raised)
    return Outcome(wire.status, wire.headers, wire.body, error, list(notes))


async def directly(
    app: FastAPI, call: Call, notes: list[Any], known: _core.DirectApp | None = None
) -> Outcome | None:
    """As our own server runs the app's plans; `None` where it takes the ASGI way.

    `known`: what it made of the app for earlier requests.
    """
    notes.clear()
    wire = Wire(call)
    direct = known or _core.DirectApp.find(app)
    if direct is None:
        return None
    started = direct.request(
        call.method,
        call.path,
        call.query,
        call.raw_headers,
        call.body,
        lambda: (call.scope(), wire.receive, wire.send),
    )
    if started is None:
        return None
    run, answer = started
    await asyncio.get_running_loop().create_task(run)
    error = None if answer.error is None else repr(answer.error)
    if answer.status is not None:
        return Outcome(answer.status, answer.headers, answer.body, error, list(notes))
    return Outcome(wire.status, wire.headers, wire.body, error, list(notes))


def check(
    app: FastAPI,
    method: str,
    url: str,
    *,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    notes: list[Any] | None = None,
    is_direct: bool = True,
    same: Callable[[Outcome], Any] = lambda outcome: outcome,
) -> Outcome:
    """The outcome of a request, after making sure that it is the same on all paths.

    `is_direct`: whether our server runs it without ASGI. `same` says what is compared.
    """
    call = Call(method, url, headers or {}, body)
    kept = [] if notes is None else notes

    async def run() -> tuple[Outcome, Outcome, Outcome | None]:
        with _plan.disabled():
            reference = await through_asgi(app, call, kept)
        return reference, await through_asgi(app, call, kept), await directly(app, call, kept)

    reference, planned, direct = asyncio.run(run())
    assert same(planned) == same(reference)
    assert (direct is not None) == is_direct
    if direct is not None:
        assert same(without_length(direct)) == same(without_length(reference))
    return planned


def without_length(outcome: Outcome) -> Outcome:
    """Without the field that our server writes itself."""
    headers = [item for item in outcome.headers if item[0] != b"content-length"]
    return Outcome(outcome.status, headers, outcome.body, outcome.error, outcome.notes)


def has_plan(app: FastAPI, path: str) -> bool:
    """Whether the route of exactly this path has a plan."""
    found = [item for item in app.router.route_contexts() if item.path == path]
    assert found, f"no route {path}"
    route = found[0].effective or found[0].route
    return _plan.explain(route) is None
