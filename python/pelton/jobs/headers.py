"""What rides along with a job: values of context variables, traces, the payload's version."""

from __future__ import annotations

import contextvars
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

Headers = dict[str, Any]
"""JSON values by name. `context`, `trace` and `v` are the package's own."""


def capture(
    variables: Sequence[contextvars.ContextVar[Any]], version: int, own: Mapping[str, Any] | None
) -> bytes | None:
    """The headers of a job that is enqueued here and now; None where there are none.

    ValueError where a context variable's value is not JSON.
    """
    if not variables and not own and version == 1 and "opentelemetry.trace" not in sys.modules:
        return None  # most jobs
    headers: Headers = dict(own or {})
    values = {}
    for variable in variables:
        value = variable.get(_UNSET)
        if value is not _UNSET:
            values[variable.name] = value
    if values:
        headers["context"] = values
    if trace := _trace():
        headers["trace"] = trace
    if version != 1:
        headers["v"] = version
    if not headers:
        return None
    try:
        return json.dumps(headers, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"what rides along with a job must be JSON values: {error}; of a context variable "
            "carry a plain value such as an id"
        ) from None


def read(data: bytes | None) -> Headers:
    """The headers of a job; none where another program wrote something else."""
    if not data:
        return {}
    try:
        headers = json.loads(data)
    except ValueError:
        return {}
    return headers if isinstance(headers, dict) else {}


def enter(headers: Headers, variables: Sequence[contextvars.ContextVar[Any]]) -> None:
    """Sets, in the current context, what rode along."""
    values = headers.get("context")
    if isinstance(values, dict):
        for variable in variables:
            if variable.name in values:
                variable.set(values[variable.name])
    trace = headers.get("trace")
    if isinstance(trace, dict) and (otel := _otel()) is not None:
        propagate, context = otel
        context.attach(propagate.extract(trace))


def _trace() -> dict[str, str]:
    otel = _otel()
    carrier: dict[str, str] = {}
    if otel is not None:
        otel[0].inject(carrier)
    return carrier


def _otel() -> tuple[Any, Any] | None:
    """OpenTelemetry's propagation, where the program has imported OpenTelemetry."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import context, propagate

    return propagate, context


_UNSET: Any = object()
