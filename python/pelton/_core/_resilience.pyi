"""Rate limits and bulkheads."""

from __future__ import annotations

from typing import Literal, final

@final
class RateLimiter:
    """At most `limit` permits per `period` seconds for each key, `burst` of them at once.

    Generic cell rate algorithm. At most `max_keys` are remembered; beyond that, those that have
    used least are forgotten. ValueError for a rate that makes no sense. Threads may share it.
    """

    def __new__(cls, limit: int, period: float, *, burst: int, max_keys: int) -> RateLimiter: ...
    def take(
        self, key: bytes, *, cost: int = 1, now: float | None = None
    ) -> tuple[bool, int, float | None, float]:
        """Asks for `cost` permits, at seconds `now` of any clock instead of the process's own.

        (allowed, permits left, seconds until the same would be allowed or None for never, seconds
        until all permits are back). What is refused costs nothing."""
    @property
    def keys(self) -> int:
        """How many keys are remembered."""
    @property
    def evicted(self) -> int:
        """How many keys were forgotten early, for want of room."""

@final
class Bulkhead:
    """At most `limit` at a time and `queue` waiting, in order of arrival. Threads may share it."""

    def __new__(cls, limit: int, queue: int) -> Bulkhead: ...
    def enter(self) -> Literal[True] | int | None:
        """True: in, and `leave` must follow. A ticket: waits. None: refused, all is full."""
    def leave(self) -> int | None:
        """Somebody who was in has left; the ticket that is in now in its place."""
    def withdraw(self, ticket: int) -> bool:
        """Gives up waiting; False if the ticket was in already, and must leave."""
    @property
    def running(self) -> int:
        """How many are in."""
    @property
    def waiting(self) -> int:
        """How many wait."""

def limit_key(address: str) -> bytes:
    """The key by which rate limits know a client's address: of IPv6, the network of 64 bits."""
