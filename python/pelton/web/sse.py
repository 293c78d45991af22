"""Server-sent events: the response class, the event, and how it is written."""

from typing import Any

from pydantic import BaseModel, model_validator
from pydantic import field_validator as _field_validator
from pydantic.fields import Field
from starlette.responses import StreamingResponse

KEEPALIVE_COMMENT = b": ping\n\n"
"""Sent when there was no event for a while, so that proxies keep the connection."""

PING_INTERVAL = 15.0
"""Seconds without an event after which `KEEPALIVE_COMMENT` is sent."""


class EventSourceResponse(StreamingResponse):
    """As the `response_class` of an endpoint that yields: its items are sent as events."""

    media_type = "text/event-stream"


class ServerSentEvent(BaseModel):
    """One event.

    `data` is sent as JSON (text too, in quotes), `raw_data` as it is; only one of them may be
    set. `event` names the event, `id` its place for a client that reconnects, `retry` is the
    time until it does, in milliseconds. `comment` is ignored by clients.
    """

    data: Any = None
    raw_data: str | None = None
    event: str | None = None
    id: str | None = None
    retry: int | None = Field(default=None, ge=0)
    comment: str | None = None

    @_field_validator("event")
    @classmethod
    def _event_is_one_line(cls, value: str | None) -> str | None:
        return _one_line(value, "event")

    @_field_validator("id")
    @classmethod
    def _id_is_one_line(cls, value: str | None) -> str | None:
        if value is not None and "\0" in value:
            raise ValueError("SSE 'id' must not contain null characters")
        return _one_line(value, "id")

    @model_validator(mode="after")
    def _has_one_payload(self) -> "ServerSentEvent":
        if self.data is not None and self.raw_data is not None:
            raise ValueError(
                "Cannot set both 'data' and 'raw_data' on the same ServerSentEvent. "
                "Use 'data' for JSON-serialized payloads or 'raw_data' for pre-formatted strings."
            )
        return self


def _one_line(value: str | None, name: str) -> str | None:
    if value is not None and ("\r" in value or "\n" in value):
        raise ValueError(f"SSE '{name}' must be a single line")
    return value


def _lines(text: str) -> list[str]:
    """The lines as a client sees them: ended by CR LF, CR or LF, and by nothing else."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def format_sse_event(
    *,
    data_str: str | None = None,
    event: str | None = None,
    id: str | None = None,
    retry: int | None = None,
    comment: str | None = None,
) -> bytes:
    """An event as it is sent, up to and including the blank line that ends it."""
    lines = [] if comment is None else [f": {line}" for line in _lines(comment)]
    if event is not None:
        lines.append(f"event: {event}")
    if data_str is not None:
        lines += [f"data: {line}" for line in _lines(data_str)]
    if id is not None:
        lines.append(f"id: {id}")
    if retry is not None:
        lines.append(f"retry: {retry}")
    return ("\n".join(lines) + "\n\n").encode()
