"""How long a request may take, and how much of that is left."""

from __future__ import annotations

import re
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from .errors import InvalidDeadline

if TYPE_CHECKING:
    from pelton import CancelScope

_GRPC_HEADER = "grpc-timeout"
_GRPC = re.compile(r"(\d{1,8})([HMSmun])")
_GRPC_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*(ms|s)?")


@dataclass(frozen=True)
class Deadline:
    """How long requests may take: `seconds`, unless the client asks for less.

    `header` names the field by which it asks, ``"X-Request-Timeout"`` (``2.5``, ``500ms``) or
    ``"grpc-timeout"`` (``100m``); `maximum` is the most it gets, by default `seconds`. `seconds` of
    `None`: only whoever asks has a deadline. A request that is late is cancelled and answered 504,
    unless its response has begun; `streams` says whether the deadline holds for the rest of the
    response, too.
    """

    seconds: float | None
    header: str | None = None
    maximum: float | None = None
    streams: bool = False

    def __post_init__(self) -> None:
        for name in ("seconds", "maximum"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name}={value!r} is not a number of seconds above 0")
        if self.seconds is None and (self.header is None or self.maximum is None):
            raise ValueError("a deadline needs seconds, or a header and a maximum")
        if self.header is None and self.maximum is not None:
            raise ValueError("maximum is for what clients ask by a header; there is none")

    def budget(self, headers: Headers) -> float | None:
        """The seconds that a request with these headers has; `None`: no deadline.

        Raises `InvalidDeadline`, a 400, for a header that cannot be read.
        """
        asked = None if self.header is None else headers.get(self.header)
        if asked is None or self.header is None:
            return self.seconds
        most = self.maximum if self.maximum is not None else self.seconds
        wanted = _seconds(self.header, asked)
        return wanted if most is None else min(wanted, most)


def _seconds(header: str, text: str) -> float:
    text = text.strip()
    if header.lower() == _GRPC_HEADER:
        found = _GRPC.fullmatch(text)
        value = int(found[1]) * _GRPC_UNITS[found[2]] if found else 0.0
    else:
        found = _DURATION.fullmatch(text)
        value = float(found[1]) * (1e-3 if found[2] == "ms" else 1.0) if found else 0.0
    if found is None:
        raise InvalidDeadline(header, text)
    return value


@dataclass(frozen=True)
class TimeLeft:
    """The deadline of the request under way: `at`, by `time.monotonic` as asyncio's loops."""

    at: float

    def remaining(self) -> float:
        """Seconds until then, never below 0: for timeouts, and ``task.options(expires=…)``."""
        return max(0.0, self.at - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether it has passed."""
        return self.remaining() == 0.0

    def scope(self, *, reserve: float = 0.0) -> CancelScope:
        """A cancel scope that ends `reserve` seconds before it, to answer with what there is."""
        from pelton import CancelScope

        return CancelScope(deadline=self.at - reserve)


current: ContextVar[TimeLeft | None] = ContextVar("pelton_deadline", default=None)
"""The deadline that code runs under; threads, tasks and nurseries of a request inherit it."""


def deadline() -> TimeLeft | None:
    """The deadline of the request under way; `None` if it has none, and once it is answered."""
    return current.get()
