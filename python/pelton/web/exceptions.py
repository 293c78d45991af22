"""What can go wrong: in a request, in a response, and in how an app is declared."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from pydantic import BaseModel, create_model
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.exceptions import WebSocketException as StarletteWebSocketException


class HTTPException(StarletteHTTPException):
    """Ends the request with an error response.

    `status_code` is the response's status, `detail` (anything JSON can hold) its ``detail``,
    `headers` are added to it. Starlette's exception is the base, so a handler for that one
    catches both.
    """

    def __init__(
        self,
        status_code: int,
        detail: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status_code=status_code, detail=detail, headers=headers)


class WebSocketException(StarletteWebSocketException):
    """Closes a WebSocket with a code of RFC 6455 section 7.4.1 and an optional reason."""

    def __init__(self, code: int, reason: str | None = None) -> None:
        super().__init__(code=code, reason=reason)


class FastAPIError(RuntimeError):
    """The app is declared in a way that cannot work."""


class DependencyScopeError(FastAPIError):
    """A dependency needs another one that would be closed before it."""


class PydanticV1NotSupportedError(FastAPIError):
    """A model of Pydantic 1 was used; only Pydantic 2 models work."""


class FastAPIDeprecationWarning(UserWarning):
    """A deprecated name or argument was used.

    A `UserWarning`, because Python hides `DeprecationWarning` from most users.
    """


class EndpointContext(TypedDict, total=False):
    """Where the endpoint of a failed validation is: function, path, source file and line."""

    function: str
    path: str
    file: str
    line: int


class ValidationException(Exception):
    """Data did not have the declared shape. `errors()` says what and where."""

    def __init__(
        self, errors: Sequence[Any], *, endpoint_ctx: EndpointContext | None = None
    ) -> None:
        self._errors = errors
        self.endpoint_ctx = endpoint_ctx
        where = endpoint_ctx or {}
        self.endpoint_function = where.get("function")
        self.endpoint_path = where.get("path")
        self.endpoint_file = where.get("file")
        self.endpoint_line = where.get("line")

    def errors(self) -> Sequence[Any]:
        """The errors, each with ``type``, ``loc``, ``msg``, ``input`` and maybe ``ctx``."""
        return self._errors

    def __str__(self) -> str:
        count = len(self._errors)
        lines = [f"{count} validation error{'' if count == 1 else 's'}:"]
        lines += [f"  {error}" for error in self._errors]
        if self.endpoint_file and self.endpoint_line and self.endpoint_function:
            lines.append("")
            lines.append(
                f'  File "{self.endpoint_file}", line {self.endpoint_line}, '
                f"in {self.endpoint_function}"
            )
            if self.endpoint_path:
                lines.append(f"    {self.endpoint_path}")
        elif self.endpoint_path:
            lines += ["", f"  Endpoint: {self.endpoint_path}"]
        return "\n".join(lines)


class _WithBody(ValidationException):
    """A failed validation that remembers the value it was about."""

    def __init__(
        self,
        errors: Sequence[Any],
        *,
        body: Any = None,
        endpoint_ctx: EndpointContext | None = None,
    ) -> None:
        super().__init__(errors, endpoint_ctx=endpoint_ctx)
        self.body = body


class RequestValidationError(_WithBody):
    """A request's parameters or body are wrong: 422. `body` is the body as it was parsed."""


class WebSocketRequestValidationError(ValidationException):
    """A WebSocket handshake's parameters are wrong: it is closed with code 1008."""


class ResponseValidationError(_WithBody):
    """The endpoint returned what its response model does not allow: 500, a bug in the app."""


RequestErrorModel: type[BaseModel] = create_model("Request")
"""The name under which schema generation shows request errors."""

WebSocketErrorModel: type[BaseModel] = create_model("WebSocket")
"""The name under which schema generation shows WebSocket errors."""
