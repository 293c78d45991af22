"""Requests made from the schema: `pelton.web` answers each as FastAPI does, on every path."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import requests
import schemathesis
from hypothesis import HealthCheck, settings
from shop import make

from pelton.web import _plan
from tests.web.plan_paths import Call, Outcome, directly, through_asgi, without_length

THEIRS = make("fastapi")
REFERENCE, PLANNED, DIRECT = (make("pelton.web") for _ in range(3))

schema = schemathesis.openapi.from_asgi("/openapi.json", THEIRS)


def test_the_documents_are_the_same() -> None:
    assert PLANNED.openapi() == THEIRS.openapi()


@schema.parametrize()
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_same_answers(case: Any) -> None:
    call = call_of(case)
    # Each app has seen the same requests before, so that its state is the same.
    theirs, reference, planned, direct = asyncio.run(answers(call))
    assert shown(planned) == shown(reference) == shown(theirs)
    assert shown(without_length(direct)) == shown(without_length(theirs))


async def answers(call: Call) -> tuple[Outcome, Outcome, Outcome, Outcome]:
    """FastAPI's answer, and ours by the reference path, by the plan, and past ASGI."""
    theirs = await through_asgi(THEIRS, call, [])
    with _plan.disabled():
        reference = await through_asgi(REFERENCE, call, [])
    planned = await through_asgi(PLANNED, call, [])
    direct = await directly(DIRECT, call, []) or await through_asgi(DIRECT, call, [])
    return theirs, reference, planned, direct


def call_of(case: Any) -> Call:
    """A generated case as the bytes that its client would send."""
    arguments = case.as_transport_kwargs(base_url="http://testserver")
    names = ("method", "url", "headers", "files", "data", "json", "params", "cookies")
    given = {name: arguments[name] for name in names if arguments.get(name) is not None}
    prepared = requests.Request(**given).prepare()
    url = urlsplit(prepared.url or "")
    body = prepared.body or b""
    headers = {
        str(name).lower(): value if isinstance(value, str) else value.decode("latin-1")
        for name, value in prepared.headers.items()
    }
    return Call(
        prepared.method or "GET",
        url.path + (f"?{url.query}" if url.query else ""),
        headers,
        body.encode() if isinstance(body, str) else bytes(body),
    )


def shown(outcome: Outcome) -> tuple[Any, ...]:
    """What is compared: all but the order of header fields, and an exception by its kind."""
    error = None if outcome.error is None else outcome.error.partition("(")[0]
    return outcome.status, sorted(outcome.headers), outcome.body, error
