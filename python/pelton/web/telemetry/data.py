"""What an app may say about its telemetry, and what processors may read of a request."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from starlette.requests import Request
    from starlette.websockets import WebSocket


class TelemetryConfig(TypedDict, total=False):
    """The settings of ``FastAPI(telemetry={…})``; what is left out keeps its default.

    A provider that is `None` is the process's own. `tracing` (spans of requests and connections),
    `metrics` (of HTTP requests) and `logs` (failed validation, unhandled exceptions with their
    tracebacks) are on; so is `operation_spans`: dependencies, endpoint, serialization and
    background tasks as spans of their own. `auto_configure` adds OTLP exporters from the
    environment; it is off unless ``FASTAPI_OTEL_AUTO_CONFIGURE=true``. `exclude` is asked with the
    ASGI scope and returns true for what is not to be observed.
    """

    tracer_provider: TracerProvider | None
    meter_provider: MeterProvider | None
    logger_provider: LoggerProvider | None
    tracing: bool
    metrics: bool
    logs: bool
    operation_spans: bool
    auto_configure: bool
    exclude: Callable[[MutableMapping[str, Any]], bool] | None


@dataclass(kw_only=True)
class TelemetryData:
    """One request as span and log processors may see it while it runs; not for changing.

    `request` or `websocket` is there once the route's handler starts, `body` once it is read and
    before it is validated, `values` (the arguments) and `errors` once dependencies are solved.
    None of it is exported by itself.
    """

    request: Request | None = None
    websocket: WebSocket | None = None
    body: Any = None
    values: dict[str, Any] | None = None
    errors: Sequence[Any] | None = None


def get_telemetry_data(context: Context | None = None) -> TelemetryData | None:
    """The data of the request that an OpenTelemetry context belongs to; by default the current.

    `None` outside of observed requests, and after they have ended, whoever kept the context.
    """
    # Only an observed request loads this module, so without it there is none.
    record = sys.modules.get(f"{__package__}.record")
    if record is None:
        return None
    current = record.current(context)
    return None if current is None else current.data


def complete(config: TelemetryConfig | None) -> TelemetryConfig:
    """A copy of `config` with all defaults in it."""
    automatic = os.environ.get("FASTAPI_OTEL_AUTO_CONFIGURE", "").lower() == "true"
    defaults: TelemetryConfig = {
        "tracer_provider": None,
        "meter_provider": None,
        "logger_provider": None,
        "tracing": True,
        "metrics": True,
        "logs": True,
        "operation_spans": True,
        "auto_configure": automatic,
        "exclude": None,
    }
    return {**defaults, **(config or {})}
