"""Exporters from the environment: added when an app starts, flushed when it stops."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from anyio import to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..exceptions import FastAPIError
from .data import TelemetryConfig

# Under the name that users of FastAPI's telemetry have configured.
_logger = logging.getLogger("fastapi")

_lock = threading.RLock()
_owned: list[Any] = []
"""What this module made and must flush and shut down: exporters' parts, or whole providers."""
_configured: list[tuple[str, Any]] = []
"""Which providers have our exporter, by signal, so that none gets a second one."""

_OPT_OUT = "pass telemetry={'auto_configure': False} to FastAPI()"
_LAST_MESSAGES = {
    "lifespan.startup.failed",
    "lifespan.shutdown.complete",
    "lifespan.shutdown.failed",
}


async def lifespan(
    *, config: TelemetryConfig, app: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> None:
    """Runs the lifespan of `app`: configured before it starts, flushed when it has stopped.

    Telemetry never keeps an app from starting: what cannot be configured is a warning.
    """

    async def receiving() -> Message:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                _configure_from_environment(config)
            except Exception as error:
                _logger.warning("FastAPI automatic telemetry configuration failed: %s", error)
        return message

    async def sending(message: Message) -> None:
        if _owned and message["type"] in _LAST_MESSAGES:
            # Exporting blocks on the network.
            await to_thread.run_sync(_flush)
        await send(message)

    await app(scope, receiving, sending)


def _flush() -> None:
    _each(list(_owned), "force_flush")


def _shutdown() -> None:
    with _lock:
        components = list(_owned)
        _owned.clear()
    _each(components, "shutdown")


atexit.register(_shutdown)


def _each(components: list[Any], method: str) -> None:
    """Calls a method of each; one that fails is logged, and the others are called all the same."""
    for component in components:
        try:
            getattr(component, method)()
        except Exception:
            _logger.exception("FastAPI telemetry cleanup failed")


@dataclass(frozen=True)
class _Signal:
    """One of the three kinds of telemetry, by the names of its parts in the API and the SDK.

    `component` makes the SDK's part that exports to an endpoint, `provider` a new provider with
    that part in it; `register` is the method by which a provider takes one more.
    """

    name: str
    noun: str
    api: Any
    register: str
    component: Callable[[str], Any]
    provider: Callable[[Any], Any]

    def current(self) -> Any:
        """The process's provider."""
        return getattr(self.api, f"get_{self.noun}_provider")()

    def install(self, provider: Any) -> None:
        """Makes `provider` the process's, if there is none yet."""
        getattr(self.api, f"set_{self.noun}_provider")(provider)


def _configure_from_environment(config: TelemetryConfig) -> None:
    """Adds an OTLP exporter to the provider of each signal that has an endpoint.

    Providers and exporters that are there stay as they are. Raises `FastAPIError` for what the
    environment asks and this cannot do.
    """
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not config["auto_configure"] or disabled:
        return
    wanted = {
        "TRACES": (config["tracing"], config["tracer_provider"]),
        "METRICS": (config["metrics"], config["meter_provider"]),
        "LOGS": (config["logs"], config["logger_provider"]),
    }
    with _lock:
        endpoints = {
            name: endpoint
            for name, (is_on, _) in wanted.items()
            if is_on and (endpoint := _export_endpoint(name)) is not None
        }
        if not endpoints:
            return
        signals = _signals()
        for name, endpoint in endpoints.items():
            _export(signals[name], wanted[name][1], endpoint)


def _export_endpoint(signal: str) -> str | None:
    """Where the environment has ``TRACES``, ``METRICS`` or ``LOGS`` sent; `None` for nowhere."""
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    general = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    endpoint = own or (general and f"{general.removesuffix('/')}/v1/{signal.lower()}")
    exporter = (os.environ.get(f"OTEL_{signal}_EXPORTER") or "otlp").strip().lower()
    if not endpoint or exporter == "none":
        return None
    if exporter != "otlp":
        raise FastAPIError(
            f"Automatic telemetry knows OTEL_{signal}_EXPORTER=otlp or none, not {exporter!r}. "
            f"Configure that exporter in your program, and {_OPT_OUT}."
        )
    protocol = (
        os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    if protocol != "http/protobuf":
        raise FastAPIError(
            f"Automatic telemetry speaks OTLP by http/protobuf, not {protocol!r}. "
            f"Configure that transport in your program, and {_OPT_OUT}."
        )
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise FastAPIError(
            f"The OTLP endpoint for {signal.lower()} must be an absolute HTTP or HTTPS URL."
        )
    return endpoint


def _signals() -> dict[str, _Signal]:
    """The signals, with the SDK imported; raises `FastAPIError` where it is not installed."""
    try:
        from opentelemetry import _logs, metrics, trace
        from opentelemetry.exporter.otlp.proto.http import (
            _log_exporter,
            metric_exporter,
            trace_exporter,
        )
        from opentelemetry.sdk import _logs as sdk_logs
        from opentelemetry.sdk import metrics as sdk_metrics
        from opentelemetry.sdk import trace as sdk_trace
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise FastAPIError(
            "Automatic export needs OpenTelemetry's SDK and OTLP exporter, which "
            "pelton[telemetry] (as fastapi[opentelemetry]) installs. Install it, configure "
            f"providers yourself, or {_OPT_OUT}."
        ) from error

    def tracer_provider(part: Any) -> Any:
        provider = sdk_trace.TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(part)
        return provider

    def meter_provider(part: Any) -> Any:
        return sdk_metrics.MeterProvider(metric_readers=[part], shutdown_on_exit=False)

    def logger_provider(part: Any) -> Any:
        provider = sdk_logs.LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(part)
        return provider

    return {
        "TRACES": _Signal(
            "TRACES",
            "tracer",
            trace,
            "add_span_processor",
            lambda url: BatchSpanProcessor(trace_exporter.OTLPSpanExporter(endpoint=url)),
            tracer_provider,
        ),
        "METRICS": _Signal(
            "METRICS",
            "meter",
            metrics,
            "add_metric_reader",
            lambda url: PeriodicExportingMetricReader(
                metric_exporter.OTLPMetricExporter(endpoint=url)
            ),
            meter_provider,
        ),
        "LOGS": _Signal(
            "LOGS",
            "logger",
            _logs,
            "add_log_record_processor",
            lambda url: BatchLogRecordProcessor(_log_exporter.OTLPLogExporter(endpoint=url)),
            logger_provider,
        ),
    }


def _export(signal: _Signal, given: Any | None, endpoint: str) -> None:
    """Has one signal's provider, the app's own or the process's, export to `endpoint`, too."""
    from ._asgi import is_placeholder

    provider = _registration_provider(signal.current() if given is None else given)
    if any(name == signal.name and known is provider for name, known in _configured):
        return
    if given is None and is_placeholder(provider):
        ours = signal.provider(signal.component(endpoint))
        signal.install(ours)
        current = signal.current()
        if current is ours:
            _configured.append((signal.name, ours))
            _owned.append(ours)
            return
        # Somebody else was faster: theirs gets an exporter instead.
        ours.shutdown()
        provider = _registration_provider(current)
    register = getattr(provider, signal.register, None)
    if not callable(register):
        raise FastAPIError(
            f"The OpenTelemetry {signal.noun} provider in use does not support adding an OTLP "
            f"exporter. Configure the export through that provider, and {_OPT_OUT}."
        )
    part = signal.component(endpoint)
    try:
        register(part)
    except Exception:
        part.shutdown()
        raise
    _configured.append((signal.name, provider))
    _owned.append(part)


def _registration_provider(provider: Any) -> Any:
    """The provider that exporters are added to: Logfire's older wrapper of meters hides it."""
    kind = type(provider)
    is_wrapper = (kind.__module__, kind.__name__) == (
        "logfire._internal.metrics",
        "ProxyMeterProvider",
    )
    if is_wrapper and not hasattr(provider, "add_metric_reader"):
        return provider.provider
    return provider
