"""Requests made from the schema of examples/studio, to its server: it does what it documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks

from tests.cli.program import running

ROOT = Path(__file__).parents[3]
STUDIO = ROOT / "examples/studio"

visitor = requests.Session()


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The schema of a running studio, with the token of one of its users."""
    var = tmp_path_factory.mktemp("studio")
    arguments = ("serve", "app:app", "--port", "0", "--app-dir", str(STUDIO))
    with running(*arguments, directory=var, STUDIO_VAR=str(var)) as program:
        url = program.url()
        visitor.headers["Authorization"] = f"Bearer {sign_up(url)}"
        with visitor:
            yield schemathesis.openapi.from_url(f"{url}/openapi.json")


def sign_up(url: str) -> str:
    """The token of a new user."""
    new = {"name": "schema", "password": "a password of the test"}
    answer = requests.post(f"{url}/register", json=new, timeout=30)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["access_token"])


schema = schemathesis.pytest.from_fixture("studio")


@schema.parametrize()
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_it_does_what_it_documents(case: Any) -> None:
    # Which refusals an app documents is its author's choice, and FastAPI documents none but 422.
    case.call_and_validate(
        session=visitor,
        timeout=30,
        checks=[
            checks.not_a_server_error,
            checks.response_schema_conformance,
            checks.content_type_conformance,
            checks.response_headers_conformance,
            checks.negative_data_rejection,
        ],
    )
