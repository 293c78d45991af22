"""The brokers that tests of jobs run on: SQLite always, the others where a module asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.jobs import support
from tests.jobs.servers import SERVERS, Server, running


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, Server]]:
    """Servers by their schemes, shared by the session: each test has a place of its own."""
    started = Started()
    with started.stack:
        yield started


class Started(dict[str, Server]):
    """Starts a server when it is asked for first."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()

    def __missing__(self, scheme: str) -> Server:
        self[scheme] = self.stack.enter_context(running(SERVERS[scheme]))
        return self[scheme]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Modules that set `BROKERS` run on each of them, and so do tests that are marked with some."""
    marked_with = metafunc.definition.get_closest_marker("brokers")
    schemes = marked_with.args if marked_with else getattr(metafunc.module, "BROKERS", None)
    if schemes is not None and "on_broker" in metafunc.fixturenames:
        marked = [pytest.param(scheme, id=scheme, marks=_marks(scheme)) for scheme in schemes]
        metafunc.parametrize("on_broker", marked, indirect=True)


def _marks(scheme: str) -> list[pytest.MarkDecorator]:
    if scheme == "sqlite":
        return []
    required = [pytest.mark.requires(SERVERS[scheme].program)]
    # Starting its Erlang alone takes seconds of a processor: on the main Python only.
    return [*required, pytest.mark.slow] if scheme == "amqp" else required


@pytest.fixture(autouse=True)
def on_broker(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where `support.new_jobs` makes its Jobs."""
    scheme = getattr(request, "param", "sqlite")
    if scheme == "sqlite":
        yield
        return
    support.PLACE.url = request.getfixturevalue("servers")[scheme].url()
    yield
    support.PLACE.url = None
