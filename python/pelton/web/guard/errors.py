"""How a guarded route refuses. Handlers of the app may answer these like any `HTTPException`."""

from __future__ import annotations

import math
from typing import Any

from ..exceptions import HTTPException


class RateLimited(HTTPException):
    """429: too many requests. `retry_after`: seconds until the same request would be let in,
    or `None` if it asks for more than is ever given at once."""

    def __init__(self, retry_after: float | None, headers: dict[str, str]) -> None:
        self.retry_after = retry_after
        if retry_after is not None:
            headers = {"Retry-After": str(max(1, math.ceil(retry_after))), **headers}
        super().__init__(429, "Too many requests", headers)


class Overloaded(HTTPException):
    """503: too many requests are under way. `reason`: ``"full"`` (so is the queue) or
    ``"waited"`` (for as long as one may)."""

    def __init__(self, reason: str, retry_after: float) -> None:
        self.reason = reason
        headers = {"Retry-After": str(max(1, math.ceil(retry_after)))}
        super().__init__(503, "Too many requests are under way", headers)


class DeadlineExceeded(HTTPException):
    """504: the request was not answered in its time. `seconds`: how much that was."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(504, "The request took longer than its deadline")


class InvalidDeadline(HTTPException):
    """400: the client asks for a deadline in a form that is none."""

    def __init__(self, header: str, value: str) -> None:
        detail: Any = f"The header {header} must be a duration such as 2.5, 500ms or 3s: {value!r}"
        super().__init__(400, detail)
