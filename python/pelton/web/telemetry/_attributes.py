"""What a span says of a request, in the words of OpenTelemetry's semantic conventions."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

OTHER_METHOD = "_OTHER"
"""Stands for methods that are not known, so that clients cannot make names without end."""

_METHODS = "CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT QUERY TRACE"
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

# Parameters that are credentials; the conventions name them, in this spelling only.
_SECRETS = {"X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token"}
_SECRETS |= {"sig", "X-Goog-Signature"}


def known_methods(setting: str | None) -> frozenset[str]:
    """The methods that are named as they are: those of a comma-separated setting, or the usual."""
    if setting is None or not setting.strip():
        return frozenset(_METHODS.split())
    return frozenset(name.strip() for name in setting.split(",") if name.strip())


def span_attributes(scope: Scope, method: str) -> dict[str, Any]:
    """What only the span says, and no metric: whatever has many values."""
    attributes = _server(scope)
    if scope["type"] == "websocket":
        return attributes
    if scope.get("http_version"):
        attributes["network.protocol.version"] = scope["http_version"]
    attributes["url.path"] = scope["path"]
    if scope.get("query_string"):
        attributes["url.query"] = _query(scope["query_string"].decode("latin-1"))
    original = scope.get("method", "")
    if original != method:
        attributes["http.request.method_original"] = original
    return attributes


def _query(text: str) -> str:
    pairs = parse_qsl(text, keep_blank_values=True)
    return urlencode([(name, "REDACTED" if name in _SECRETS else value) for name, value in pairs])


def _server(scope: Scope) -> dict[str, Any]:
    """The address and port that the client asked for; nothing where that makes no sense."""
    host = Headers(scope=scope).get("host")
    if host is None:
        address, port = scope.get("server") or (None, None)
    else:
        try:
            url = urlsplit(f"//{host}")
            address, port = url.hostname, url.port
        except ValueError:
            return {}
        if url.username is not None or url.path or url.query or url.fragment:
            return {}
        if port is None:
            port = _PORTS.get(scope.get("scheme", "http"))
    if address is None:
        return {}
    found: dict[str, Any] = {"server.address": address}
    if port is not None:
        found["server.port"] = port
    return found
