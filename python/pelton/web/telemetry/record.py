"""The record of one observed request, which spans, logs and processors are fed from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import context as contexts
from opentelemetry._logs import Logger, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import Span, StatusCode, Tracer
from starlette.exceptions import HTTPException, WebSocketException
from starlette.websockets import WebSocketDisconnect

from ..exceptions import RequestValidationError, WebSocketRequestValidationError
from .data import TelemetryData
from .hooks import SCOPE_KEY

CONTEXT_KEY = contexts.create_key("fastapi.request")
"""Where an OpenTelemetry context keeps the record."""

# What an endpoint raises to answer: no failure of the operation.
_ANSWERS = (
    HTTPException,
    RequestValidationError,
    WebSocketException,
    WebSocketRequestValidationError,
)
_GOING_AWAY = (1000, 1001)


@dataclass(kw_only=True)
class RequestRecord:
    """One request or WebSocket connection while it is observed.

    `span` is there if it is traced, `tracer` if its operations are, `logger` if it logs. `data` is
    taken away when the request ends, since contexts may outlive it.
    """

    span: Span | None
    span_method: str
    tracer: Tracer | None
    logger: Logger | None
    mounted_at: str
    route: str | None = None
    status_code: int | None = None
    data: TelemetryData | None = field(default_factory=TelemetryData)
    errors: list[BaseException] = field(default_factory=list, repr=False)

    def log(self, severity: SeverityNumber, event: str, text: str, **more: Any) -> None:
        """Emits a log record of this request, if it logs."""
        if self.logger is not None:
            self.logger.emit(
                event_name=event,
                timestamp=time.time_ns(),
                severity_number=severity,
                severity_text=severity.name,
                body=text,
                **more,
            )

    def end(self) -> None:
        """Lets go of the request."""
        self.data = None
        self.errors.clear()


def current(context: Context | None = None) -> RequestRecord | None:
    """The record that `context`, or the current one, belongs to."""
    record = contexts.get_value(CONTEXT_KEY, context)
    return record if isinstance(record, RequestRecord) else None


def fill(fields: Mapping[str, Any]) -> None:
    """Sets fields of the current request's data."""
    record = current()
    if record is not None and record.data is not None:
        for name, value in fields.items():
            setattr(record.data, name, value)


def error_type(error: BaseException) -> str:
    """The full name of an exception's class; builtin ones go without their module."""
    kind = type(error)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{_public_module(kind.__module__)}.{kind.__qualname__}"


def _public_module(module: str) -> str:
    """Our modules go by the names that FastAPI gives them: dashboards ask for those."""
    ours = "pelton.web"
    return "fastapi" + module.removeprefix(ours) if module.startswith(ours) else module


def is_usual_disconnect(error: BaseException) -> bool:
    """Whether it only says that a WebSocket's client has gone."""
    return isinstance(error, WebSocketDisconnect) and error.code in _GOING_AWAY


def operation(name: str, function: Callable[..., Any] | None) -> AbstractContextManager[None]:
    """The span of a part of the current request, if its operations are traced."""
    record = current()
    if record is None or record.tracer is None:
        return nullcontext()
    return _span(record.tracer, name, function)


@contextmanager
def _span(tracer: Tracer, name: str, function: Callable[..., Any] | None) -> Iterator[None]:
    attributes = {} if function is None else {"code.function.name": _full_name(function)}
    with tracer.start_as_current_span(
        f"fastapi.{name}",
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            # A background task cannot answer any more: whatever it raises is a failure.
            is_answer = isinstance(error, _ANSWERS) or is_usual_disconnect(error)
            if name == "background_task" or not is_answer:
                span.set_attribute("error.type", error_type(error))
                span.set_status(StatusCode.ERROR)
            raise


def _full_name(function: Callable[..., Any]) -> str:
    kind = type(function)
    module = getattr(function, "__module__", kind.__module__)
    return f"{module}.{getattr(function, '__qualname__', kind.__qualname__)}"


def validation_failed(error: RequestValidationError | WebSocketRequestValidationError) -> None:
    """Logs a request that does not fit; what it sent is in the data only, never in the log."""
    record = current()
    if record is None:
        return
    errors = error.errors()
    if record.data is not None:
        record.data.errors = errors
        if isinstance(error, RequestValidationError):
            record.data.body = error.body
    attributes: dict[str, Any] = {"fastapi.validation.error_count": len(errors)}
    if record.route is not None:
        attributes["http.route"] = record.route
    record.log(
        SeverityNumber.WARN,
        "fastapi.validation.failed",
        "Request validation failed",
        attributes=attributes,
    )


def exception_raised(scope: MutableMapping[str, Any], error: BaseException) -> None:
    """Logs an exception that nobody handled, once, with its traceback."""
    record = scope.get(SCOPE_KEY)
    is_websocket = scope["type"] == "websocket"
    if not isinstance(record, RequestRecord) or (is_websocket and is_usual_disconnect(error)):
        return
    if any(known is error for known in record.errors):
        return
    record.errors.append(error)
    if not isinstance(error, Exception):
        return
    if is_websocket:
        event, what = "fastapi.websocket.exception", "WebSocket connection"
    else:
        event, what = "http.server.request.exception", "request"
    record.log(
        SeverityNumber.ERROR,
        event,
        f"Unhandled exception in FastAPI {what}",
        attributes={"http.route": record.route} if record.route else None,
        exception=error,
    )


def route_selected(record: object, path: str, mount: bool) -> None:
    """Names the request by its route's template, behind those of the mounts around it."""
    if not isinstance(record, RequestRecord):
        return
    if mount:
        # A mount's template ends in the parameter that takes the rest.
        record.mounted_at += path.removesuffix("/{path}")
        record.route = record.mounted_at + "/{path}"
    else:
        record.route = record.mounted_at + path
    if record.span is not None:
        record.span.set_attribute("http.route", record.route)
        record.span.update_name(f"{record.span_method} {record.route}")
