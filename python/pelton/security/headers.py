"""Header fields by which browsers protect an application's users."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

API_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""A content security policy for answers that no page is made of. Not for an app whose documentation
pages are to work: those load scripts."""


class SecurityHeaders:
    """ASGI middleware: ``app.add_middleware(SecurityHeaders)``.

    Adds, where the application has not set the field itself: ``X-Content-Type-Options: nosniff``,
    ``X-Frame-Options`` (`frame_options`), ``Referrer-Policy`` (`referrer_policy`),
    ``Cross-Origin-Opener-Policy`` and ``Cross-Origin-Resource-Policy`` (`cross_origin`), over HTTPS
    ``Strict-Transport-Security`` for `hsts_seconds` (a year; also for subdomains with
    `hsts_subdomains`), and if given ``Content-Security-Policy`` and ``Permissions-Policy``. `None`
    leaves a field out. `headers` are further fields, or others than these.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        content_security_policy: str | None = None,
        permissions_policy: str | None = None,
        frame_options: str | None = "DENY",
        referrer_policy: str | None = "strict-origin-when-cross-origin",
        cross_origin: str | None = "same-origin",
        hsts_seconds: int | None = 31_536_000,
        hsts_subdomains: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.app = app
        fields: dict[str, str | None] = {
            "x-content-type-options": "nosniff",
            "x-frame-options": frame_options,
            "referrer-policy": referrer_policy,
            "cross-origin-opener-policy": cross_origin,
            "cross-origin-resource-policy": cross_origin,
            "content-security-policy": content_security_policy,
            "permissions-policy": permissions_policy,
            **{name.lower(): value for name, value in (headers or {}).items()},
        }
        self._fields = _encoded(fields)
        hsts = None
        if hsts_seconds is not None:
            hsts = f"max-age={hsts_seconds}" + ("; includeSubDomains" if hsts_subdomains else "")
        # Browsers ignore it over plain HTTP, where anybody could have put it in.
        self._secure = [*self._fields, *_encoded({"strict-transport-security": hsts})]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app, with the fields added to its response."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        fields = self._secure if scope.get("scheme") == "https" else self._fields

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", ()))
                names = {bytes(name).lower() for name, _ in own}
                added = [field for field in fields if field[0] not in names]
                message = {**message, "headers": own + added}
            await send(message)

        await self.app(scope, receive, sending)


def _encoded(fields: Mapping[str, str | None]) -> list[tuple[bytes, bytes]]:
    encoded = []
    for name, value in fields.items():
        if value is None:
            continue
        if "\r" in value or "\n" in value:
            raise ValueError(f"{name}: a header's value is one line, not {value!r}")
        encoded.append((name.encode("ascii"), value.encode("latin-1")))
    return encoded
