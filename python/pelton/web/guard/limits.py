"""How often, and how many at a time, a route may be asked."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from starlette.requests import Request

from pelton import _core

from .errors import Overloaded, RateLimited

Key: TypeAlias = Callable[[Request], "str | Awaitable[str | None] | None"]
"""Tells whose request it is; `None`: nobody's, and it is not limited. It may be ``async def``."""

Decision: TypeAlias = tuple[bool, int, float | None, float]
"""Allowed; permits left; seconds until it would be, or `None` for never; seconds until all are."""

MAX_KEYS = 100_000
"""How many keys a limit remembers, if it does not say: some 20 MB at most."""

_UNITS = {
    name: seconds
    for names, seconds in (
        ("s sec second seconds", 1),
        ("m min minute minutes", 60),
        ("h hour hours", 3600),
        ("d day days", 86_400),
    )
    for name in names.split()
}
_RATE = re.compile(r"(\d{1,9})\s*/\s*(\d{1,9})?\s*([a-z]+)")


@dataclass(frozen=True)
class ByHeader:
    """A key: the value of a header; where it is missing, the client's address."""

    name: str

    def __call__(self, request: Request) -> str:
        """The value."""
        value = request.headers.get(self.name)
        # Latin-1 as the server reads it, and apart from addresses.
        return by_client(request) if value is None else f"={value}"


def by_client(request: Request) -> str:
    """A key: the client's address; an IPv6 one counts by its network of 64 bits."""
    client = request.client
    return "" if client is None else client.host


def by_header(name: str) -> ByHeader:
    """A key: the value of the header `name`; where it is missing, the client's address.

    Clients choose what they send: use it for headers that a dependency or a proxy checks.
    """
    return ByHeader(name)


class RateLimit:
    """At most so many requests per period, for each key; answered 429 beyond that.

    `rate` reads ``"100/minute"``, ``"5/10 seconds"``, ``"1000/h"``. `key` says whose request it is:
    by default the client's address. `burst`: how many may come at once (by default as many as the
    rate names). `cost`: how many permits a request takes. `max_keys`: how many keys are remembered;
    beyond that, those that have used least are forgotten. `name` is what the header calls it.

    One object is one budget: declared on a router, all its routes share it. Each process has a
    budget of its own.
    """

    def __init__(
        self,
        rate: str,
        *,
        key: Key = by_client,
        burst: int | None = None,
        cost: int = 1,
        max_keys: int = MAX_KEYS,
        name: str = "default",
    ) -> None:
        self.limit, self.period = _parsed(rate)
        self.burst = self.limit if burst is None else burst
        if cost < 1 or cost > self.burst:
            raise ValueError(f"cost={cost} is not from 1 to the burst, {self.burst}")
        if not re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", name):
            raise ValueError(f"name={name!r} must be of printable ASCII without quotes")
        self.rate = rate
        self.key = key
        self.cost = cost
        self.name = name
        self.limiter = _core.RateLimiter(
            self.limit, self.period, burst=self.burst, max_keys=max_keys
        )

    def __repr__(self) -> str:
        return f"RateLimit({self.rate!r}, burst={self.burst})"

    @property
    def is_native(self) -> bool:
        """Whether the compiled path can ask it without Python: its key is an address or header."""
        # Of these very classes: a derived one may decide otherwise.
        return type(self) is RateLimit and (self.key is by_client or type(self.key) is ByHeader)

    @property
    def header(self) -> str | None:
        """The header that is its key, if one is."""
        return self.key.name if isinstance(self.key, ByHeader) else None

    async def take(self, request: Request) -> Decision | None:
        """Asks for the permits of `request`; `None` if it is not limited."""
        key = self.key(request)
        if inspect.isawaitable(key):
            key = await key
        if key is None:
            return None
        return self.limiter.take(self._bytes(key, request), cost=self.cost)

    def _bytes(self, key: str, request: Request) -> bytes:
        is_address = self.key is by_client
        if isinstance(self.key, ByHeader):
            is_address = self.key.name not in request.headers
        if is_address:
            return _core.limit_key(key)
        return key.encode("latin-1" if isinstance(self.key, ByHeader) else "utf-8", "replace")


def rate_headers(decisions: Iterable[tuple[RateLimit, Decision]]) -> list[tuple[bytes, bytes]]:
    """The fields that say what is left, by draft-ietf-httpapi-ratelimit-headers-10.

    Raises `RateLimited`, with the same fields, if one of the decisions is a refusal.
    """
    policies, states = [], []
    refused: Decision | None = None
    for limit, decision in decisions:
        allowed, remaining, _, reset = decision
        policies.append(f'"{limit.name}";q={limit.limit};w={math.ceil(limit.period)}')
        states.append(f'"{limit.name}";r={remaining};t={math.ceil(reset)}')
        if not allowed:
            refused = decision
    fields = {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}
    if refused is not None:
        raise RateLimited(refused[2], fields)
    return [(name.lower().encode(), value.encode()) for name, value in fields.items()]


class ConcurrencyLimit:
    """At most `limit` requests under way; `queue` more wait their turn, `timeout` seconds at most.

    Beyond that, 503. A request is under way until its dependencies are left and its background
    tasks have run. One object is one limit: declared on a router, all its routes share it. It is
    for one event loop; each process has a limit of its own.
    """

    def __init__(self, limit: int, *, queue: int = 0, timeout: float = 10.0) -> None:
        if queue < 0 or timeout <= 0:
            raise ValueError("queue must be at least 0, and timeout more than 0 seconds")
        self.limit = limit
        self.queue = queue
        self.timeout = timeout
        self._bulkhead = _core.Bulkhead(limit, queue)
        self._turns: dict[int, asyncio.Future[None]] = {}

    def __repr__(self) -> str:
        return f"ConcurrencyLimit({self.limit}, queue={self.queue})"

    @property
    def running(self) -> int:
        """How many requests are under way."""
        return self._bulkhead.running

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return self._bulkhead.waiting

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None, None]:
        """Entered once there is room, in order of arrival; raises `Overloaded` if there is none."""
        entry = self._bulkhead.enter()
        if entry is None:
            raise Overloaded("full", self.timeout)
        if entry is not True:
            await self._turn(entry)
        try:
            yield
        finally:
            self._leave()

    async def _turn(self, ticket: int) -> None:
        turn = self._turns[ticket] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self.timeout):
                await turn
        except BaseException as error:
            # Given up, or cancelled: perhaps just when its turn had come.
            if not self._bulkhead.withdraw(ticket):
                self._leave()
            if isinstance(error, TimeoutError):
                raise Overloaded("waited", self.timeout) from None
            raise
        finally:
            self._turns.pop(ticket, None)

    def _leave(self) -> None:
        successor = self._bulkhead.leave()
        if successor is None:
            return
        turn = self._turns.get(successor)
        if turn is not None and not turn.done():
            turn.set_result(None)
        # Else its holder is on its way out, and leaves when it finds that its turn had come.


Limit: TypeAlias = RateLimit | ConcurrencyLimit
"""What ``limits=[…]`` takes."""


def _parsed(rate: str) -> tuple[int, float]:
    """The number and the seconds of ``"100/minute"``."""
    found = _RATE.fullmatch(rate.strip().lower())
    unit = found and _UNITS.get(found[3])
    if not found or not unit:
        raise ValueError(
            f'rate={rate!r} is not a number per period; write "100/minute" or "5/10 seconds" '
            "(seconds, minutes, hours or days)"
        )
    count = int(found[2] or 1)
    if count == 0 or int(found[1]) == 0:
        raise ValueError(f"rate={rate!r}: both numbers must be at least 1")
    return int(found[1]), float(count * unit)
