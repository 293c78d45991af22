"""What FastAPI's suite does not ask: no cost without OpenTelemetry, and our own request path."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from pelton import _core
from pelton.web import BackgroundTasks, Depends, FastAPI
from pelton.web.telemetry import TelemetryConfig, TelemetryData, get_telemetry_data
from pelton.web.testclient import TestClient
from tests.web.plan_paths import Call, directly, has_plan, through_asgi

BLOCKED = """
import sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
"""


def run(program: str) -> str:
    """What a program in a fresh interpreter prints to both its outputs."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


class Spans:
    """A provider and what it has exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def config(self) -> TelemetryConfig:
        """Settings of an app that exports to here."""
        return {"tracer_provider": self.provider}

    def finished(self) -> list[ReadableSpan]:
        """The spans that have ended."""
        return list(self._exporter.get_finished_spans())

    def names(self) -> list[str]:
        """Their names, in the order they ended."""
        return [span.name for span in self.finished()]


@pytest.fixture
def spans() -> Iterator[Spans]:
    made = Spans()
    yield made
    made.provider.shutdown()


def test_an_app_does_not_import_opentelemetry() -> None:
    printed = run("""
        import sys
        from pelton.web import FastAPI
        from pelton.web.testclient import TestClient
        app = FastAPI(telemetry={"metrics": False})
        with TestClient(app) as client:
            assert client.get("/").status_code == 404
        print([name for name in sys.modules if name.startswith("opentelemetry")])
    """)
    assert printed.strip() == "[]"


def test_without_opentelemetry_an_app_works_and_says_what_to_install() -> None:
    printed = run(
        BLOCKED
        + textwrap.dedent("""
        import os
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1"
        from pelton.web import FastAPI
        from pelton.web.telemetry import get_telemetry_data
        from pelton.web.testclient import TestClient
        app = FastAPI(telemetry={"auto_configure": True})
        with TestClient(app) as client:
            assert client.get("/").status_code == 404
        assert get_telemetry_data() is None
        print("served")
    """)
    )
    assert "served" in printed
    assert "pelton[telemetry]" in printed


def test_telemetry_is_no_extra(spans: Spans) -> None:
    app = FastAPI(telemetry=spans.config, anything=1)
    assert app.extra == {"anything": 1}


def test_an_observed_app_answers_as_its_plan_does(spans: Spans) -> None:
    notes: list[Any] = []

    def make(config: TelemetryConfig | None) -> FastAPI:
        app = FastAPI(telemetry=config)

        async def doubled(n: int) -> int:
            notes.append("dependency")
            return 2 * n

        @app.get("/items/{n}")
        async def read(background: BackgroundTasks, value: int = Depends(doubled)) -> list[int]:
            background.add_task(notes.append, "background")
            return [value]

        return app

    observed, plain = make(spans.config), make(None)
    assert has_plan(observed, "/items/{n}")

    async def outcomes(call: Call) -> tuple[Any, Any]:
        assert _core.DirectApp.find(observed) is None
        return await through_asgi(observed, call, notes), await through_asgi(plain, call, notes)

    for url in ("/items/4", "/items/x", "/nothing"):
        first, second = asyncio.run(outcomes(Call("GET", url)))
        assert first == second
    assert spans.names()[:5] == [
        "fastapi.dependencies",
        "fastapi.endpoint",
        "fastapi.serialization",
        "GET /items/{n}",
        "fastapi.background_task",
    ]


def test_requests_leave_the_plan_once_they_are_observed(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry import trace

    app = FastAPI()

    @app.get("/")
    async def read() -> int:
        return 1

    async def both() -> None:
        assert (await directly(app, Call("GET", "/"), [])) is not None
        direct = _core.DirectApp.find(app)
        assert direct is not None

        def request() -> Any:
            return direct.request("GET", "/", b"", [], b"", lambda: None)

        started = request()
        assert started is not None
        await asyncio.get_running_loop().create_task(started[0])
        monkeypatch.setattr(trace, "get_tracer_provider", lambda: spans.provider)
        assert request() is None

    asyncio.run(both())
    assert TestClient(app).get("/").json() == 1
    assert [span.kind for span in spans.finished()].count(SpanKind.SERVER) == 1


def test_data_is_read_within_the_request_only(spans: Spans) -> None:
    app = FastAPI(telemetry=spans.config)
    seen: list[TelemetryData | None] = []

    @app.post("/{number}")
    async def read(number: int, body: dict[str, int]) -> None:
        data = get_telemetry_data()
        assert data is not None
        assert data.values == {"number": 7, "body": {"a": 1}}
        assert data.body == {"a": 1}
        seen.append(data)

    assert TestClient(app).post("/7", json={"a": 1}).status_code == 200
    assert len(seen) == 1
    assert get_telemetry_data() is None
