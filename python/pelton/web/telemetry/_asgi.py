"""Observing requests: one span, one measurement and the logs of each, around the whole app."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeGuard, TypeVar

from opentelemetry import _logs, metrics, propagate, trace
from opentelemetry import context as contexts
from opentelemetry.metrics import Histogram, UpDownCounter
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import hooks, record
from ._attributes import OTHER_METHOD, known_methods, span_attributes
from .data import TelemetryConfig
from .hooks import SCOPE_KEY
from .record import CONTEXT_KEY, RequestRecord

SCOPE_NAME = "fastapi"
"""The instrumentation scope: FastAPI's, so that its dashboards and integrations know ours."""

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The semantic conventions that the names follow."""

# Seconds, as the conventions advise for request durations.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

# The API's providers that only wait for a real one to be set; it has no public way to ask.
_PLACEHOLDERS = {
    ("opentelemetry.trace", "ProxyTracerProvider"),
    ("opentelemetry.metrics._internal", "_ProxyMeterProvider"),
    ("opentelemetry._logs._internal", "ProxyLoggerProvider"),
}
_T = TypeVar("_T")
_DOES_NOTHING = (trace.NoOpTracerProvider, metrics.NoOpMeterProvider, _logs.NoOpLoggerProvider)


def is_placeholder(provider: Any) -> bool:
    """Whether nobody has set this global provider yet."""
    kind = type(provider)
    return (kind.__module__, kind.__name__) in _PLACEHOLDERS


def has_contrib_middleware(stack: Any) -> bool:
    """Whether OpenTelemetry's own ASGI middleware is in a built stack, and observes already."""
    seen: set[int] = set()
    while stack is not None and id(stack) not in seen:
        seen.add(id(stack))
        kind = type(stack)
        if kind.__module__ == "opentelemetry.instrumentation.asgi" and (
            kind.__name__ == "OpenTelemetryMiddleware"
        ):
            return True
        stack = getattr(stack, "app", None)
    return False


class NativeTelemetry:
    """What observes the requests of one app, as `config` (with all its keys) says."""

    def __init__(self, config: TelemetryConfig) -> None:
        self.config = config
        self._methods = known_methods(os.environ.get("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS"))
        self._tracer: tuple[Any, trace.Tracer] | None = None
        self._instruments: tuple[Any, Histogram, UpDownCounter] | None = None

    def enabled(self) -> bool:
        """Whether any signal is asked for and has a provider."""
        config = self.config
        return bool(
            (config["tracing"] and self._tracers() is not None)
            or (config["metrics"] and self._meters() is not None)
            or (config["logs"] and self._loggers() is not None)
        )

    # The app's own provider, whatever it is, or the process's if one was set.

    def _tracers(self) -> trace.TracerProvider | None:
        return self.config["tracer_provider"] or _set(trace.get_tracer_provider())

    def _meters(self) -> metrics.MeterProvider | None:
        return self.config["meter_provider"] or _set(metrics.get_meter_provider())

    def _loggers(self) -> _logs.LoggerProvider | None:
        return self.config["logger_provider"] or _set(_logs.get_logger_provider())

    async def __call__(
        self,
        *,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        legacy_otel: bool = False,
    ) -> None:
        """Runs `app` for one request or connection, observed.

        `legacy_otel`: other middleware observes it, so that nothing of ours does.
        """
        exclude = self.config["exclude"]
        if exclude is not None and exclude(scope):
            # Apps inside, and code that asks for data, are not to see an outer request's.
            with _attached(contexts.set_value(CONTEXT_KEY, None)), _in_scope(scope, None):
                await app(scope, receive, send)
            return
        if legacy_otel:
            # Marked, so that the functions which such integrations patch are called.
            with _in_scope(scope, None):
                await app(scope, receive, send)
            return
        signals = self._signals(scope)
        if signals is None:
            await app(scope, receive, send)
            return
        hooks.activate(record)
        with self._observation(scope, signals) as observation:
            is_websocket = scope["type"] == "websocket"
            try:
                await app(
                    scope,
                    receive if is_websocket else observation.receiving(receive),
                    send if is_websocket else observation.sending(send),
                )
            except BaseException as error:
                record.exception_raised(scope, error)
                is_usual = is_websocket and record.is_usual_disconnect(error)
                observation.finish(None if is_usual else error)
                raise
            observation.left()

    def _signals(self, scope: Scope) -> _Signals | None:
        """What there is to observe a request with; `None` if there is nothing."""
        config = self.config
        tracer = meters = logger = None
        if config["tracing"] and _is_live(provider := self._tracers()):
            tracer = self._tracer_of(provider)
        is_http = scope["type"] == "http"
        if config["metrics"] and is_http and _is_live(meter_provider := self._meters()):
            meters = self._instruments_of(meter_provider)
        if config["logs"] and _is_live(logger_provider := self._loggers()):
            logger = logger_provider.get_logger(SCOPE_NAME, _version(), schema_url=SCHEMA_URL)
        if tracer is None and meters is None and logger is None:
            return None
        return _Signals(tracer, meters, logger)

    def _tracer_of(self, provider: trace.TracerProvider) -> trace.Tracer:
        # Kept: asking again for each request would reset the warnings module's memory.
        if self._tracer is None or self._tracer[0] is not provider:
            tracer = provider.get_tracer(SCOPE_NAME, _version(), schema_url=SCHEMA_URL)
            self._tracer = (provider, tracer)
        return self._tracer[1]

    def _instruments_of(self, provider: metrics.MeterProvider) -> tuple[Histogram, UpDownCounter]:
        if self._instruments is None or self._instruments[0] is not provider:
            meter = provider.get_meter(SCOPE_NAME, _version(), schema_url=SCHEMA_URL)
            duration = meter.create_histogram(
                "http.server.request.duration",
                unit="s",
                description="Duration of HTTP server requests.",
                explicit_bucket_boundaries_advisory=_BUCKETS,
            )
            active = meter.create_up_down_counter(
                "http.server.active_requests",
                unit="{request}",
                description="Number of active HTTP server requests.",
            )
            self._instruments = (provider, duration, active)
        return self._instruments[1:]

    @contextmanager
    def _observation(self, scope: Scope, signals: _Signals) -> Iterator[_Observation]:
        """Begins to observe a request, and undoes all that when it has left the app."""
        is_websocket = scope["type"] == "websocket"
        original = scope.get("method", "")
        method = original if original in self._methods else OTHER_METHOD
        if is_websocket:
            span_method = "WS"
            common = {"network.protocol.name": "websocket"}
        else:
            span_method = "HTTP" if method == OTHER_METHOD else method
            common = {"http.request.method": method}
        common["url.scheme"] = scope.get("scheme", "ws" if is_websocket else "http")
        parent = span = None
        if signals.tracer is not None:
            parent = propagate.extract(Headers(scope=scope), getter=_GETTER)
        with _attached(parent):
            if signals.tracer is not None:
                attributes = {**common, **span_attributes(scope, method)}
                span = signals.tracer.start_span(
                    span_method, context=parent, kind=SpanKind.SERVER, attributes=attributes
                )
            # A mounted app's route is named behind the place where its parent is served.
            root_path = scope.get("app_root_path", scope.get("root_path", ""))
            seen = RequestRecord(
                span=span,
                span_method=span_method,
                tracer=signals.tracer if self.config["operation_spans"] else None,
                logger=signals.logger,
                mounted_at=root_path.rstrip("/"),
            )
            observation = _Observation(seen, signals, common, scope)
            try:
                with (
                    _in_scope(scope, seen),
                    _attached(contexts.set_value(CONTEXT_KEY, seen)),
                    _current_span(span),
                ):
                    yield observation
            finally:
                seen.end()


@dataclass(frozen=True, slots=True)
class _Signals:
    """The live instruments for one request; `None` for each that is off."""

    tracer: trace.Tracer | None
    meters: tuple[Histogram, UpDownCounter] | None
    logger: _logs.Logger | None


@dataclass
class _Observation:
    """A request under way: it is over when its response is complete, not when the app returns."""

    record: RequestRecord
    signals: _Signals
    common: dict[str, Any]
    scope: Scope
    began: float = field(default_factory=time.perf_counter)
    is_finished: bool = False
    has_trailers: bool = False
    is_disconnected: bool = False

    def __post_init__(self) -> None:
        if self.signals.meters is not None:
            self.signals.meters[1].add(1, self.common)

    def receiving(self, receive: Receive) -> Receive:
        """`receive`, watched for the client's leaving."""

        async def watched() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.is_disconnected = True
            return message

        return watched

    def sending(self, send: Send) -> Send:
        """`send`, watched for the response's status and its end."""

        async def watched(message: Message) -> None:
            kind = message["type"]
            if kind == "http.response.start":
                self.record.status_code = message["status"]
                self.has_trailers = message.get("trailers", False)
            await send(message)
            if kind == "http.response.pathsend":
                is_end = True
            elif kind == "http.response.body":
                is_end = not message.get("more_body", False) and not self.has_trailers
            else:
                is_end = kind == "http.response.trailers" and not message.get("more_trailers")
            if is_end:
                self.finish(None)

        return watched

    def left(self) -> None:
        """The app has returned: a response that is not complete now never will be."""
        if self.scope["type"] == "websocket":
            self.finish(None)
        elif self.is_disconnected:
            self.finish(ConnectionError("Client disconnected"))
        else:
            self.finish(RuntimeError("Incomplete ASGI response"))

    def finish(self, error: BaseException | None) -> None:
        """Ends the span and measures, once; `error` is what ended the request, if anything."""
        if self.is_finished:
            return
        self.is_finished = True
        attributes = self._outcome(error)
        span, meters = self.record.span, self.signals.meters
        if span is not None:
            span.set_attributes(attributes)
            if "error.type" in attributes:
                span.set_status(StatusCode.ERROR)
        if meters is not None:
            # While the span is current: measurements can point to it.
            meters[0].record(max(0.0, time.perf_counter() - self.began), attributes)
            meters[1].add(-1, self.common)
        if span is not None:
            span.end()

    def _outcome(self, error: BaseException | None) -> dict[str, Any]:
        seen = self.record
        is_http = self.scope["type"] == "http"
        attributes = dict(self.common)
        if is_http and self.scope.get("http_version"):
            attributes["network.protocol.version"] = self.scope["http_version"]
        if seen.route is not None:
            attributes["http.route"] = seen.route
        status = seen.status_code
        if status is not None:
            attributes["http.response.status_code"] = status
        if error is not None or (is_http and (status is None or status >= 500)):
            # A 500 was sent for the exception that was seen on its way to the handler.
            cause = error or (seen.errors[-1] if seen.errors else None)
            attributes["error.type"] = (
                str(status or "incomplete_response") if cause is None else record.error_type(cause)
            )
        return attributes


class _HeadersGetter(Getter[Headers]):
    """Reads trace context from a request's headers."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        """All values; those of ``baggage`` as one, since only the first would be read."""
        values = carrier.getlist(key)
        if values and key.lower() == "baggage":
            return [",".join(values)]
        return values or None

    def keys(self, carrier: Headers) -> list[str]:
        """The names of all headers."""
        return carrier.keys()


_GETTER = _HeadersGetter()


def _version() -> str:
    from .. import FASTAPI_VERSION

    return FASTAPI_VERSION


def _set(provider: _T) -> _T | None:
    return None if is_placeholder(provider) else provider


def _is_live(provider: _T | None) -> TypeGuard[_T]:
    return provider is not None and not isinstance(provider, _DOES_NOTHING)


def _current_span(span: trace.Span | None) -> AbstractContextManager[Any]:
    if span is None:
        return nullcontext()
    return trace.use_span(
        span, end_on_exit=False, record_exception=False, set_status_on_exception=False
    )


@contextmanager
def _attached(context: contexts.Context | None) -> Iterator[None]:
    """Makes an OpenTelemetry context current, if there is one."""
    if context is None:
        yield
        return
    token = contexts.attach(context)
    try:
        yield
    finally:
        contexts.detach(token)


@contextmanager
def _in_scope(scope: Scope, seen: RequestRecord | None) -> Iterator[None]:
    """Puts the record where routers and apps inside look for it."""
    scope[SCOPE_KEY] = seen
    try:
        yield
    finally:
        scope.pop(SCOPE_KEY, None)
