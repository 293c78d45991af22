"""Who may see the dashboard, and who may act through it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from enum import Enum, auto
from urllib.parse import urlsplit

from starlette.requests import Request

COOKIE = "pelton_dashboard"
ACTION_HEADER = "x-pelton-dashboard"
"""A page of another origin cannot send this header without asking first, and is not answered."""

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


class Access(Enum):
    """What a request gets."""

    GRANTED = auto()
    LOGIN = auto()
    """It may show the token."""
    REFUSED = auto()


class Guard:
    """Grants access to clients of this machine, and to those who show the token.

    A request counts as one of this machine only if its connection is, no proxy says that it
    forwarded it, and it names this machine as its host: a name that an attacker points at
    127.0.0.1 (DNS rebinding) does not.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token or None
        self._cookie = (
            hashlib.sha256(b"pelton dashboard\0" + token.encode()).hexdigest() if token else ""
        )

    def access(self, request: Request) -> Access:
        """What `request` gets."""
        if _is_local(request) or self._has_token(request):
            return Access.GRANTED
        return Access.REFUSED if self._token is None else Access.LOGIN

    def cookie_for(self, token: str) -> str | None:
        """The cookie's value for who shows the right token."""
        if self._token is None or not hmac.compare_digest(token.encode(), self._token.encode()):
            return None
        return self._cookie

    def _has_token(self, request: Request) -> bool:
        if self._token is None:
            return False
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.cookie_for(given.strip()) is not None:
            return True
        shown = request.cookies.get(COOKIE, "")
        return hmac.compare_digest(shown.encode(), self._cookie.encode())


def is_same_origin(request: Request) -> bool:
    """Whether a request that changes something comes from the dashboard's own page, or a tool.

    Browsers say where a request comes from (`Sec-Fetch-Site`, `Origin`), and do not send the
    header of their own accord.
    """
    if ACTION_HEADER not in request.headers:
        return False
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _is_local(request: Request) -> bool:
    if request.client is None or not _is_loopback(request.client.host):
        return False
    if any(name in request.headers for name in _FORWARDED):
        return False
    name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    return name == "localhost" or name.endswith(".localhost") or _is_loopback(name)


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
