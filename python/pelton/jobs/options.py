"""How one job differs from its task's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

Seconds = float | timedelta
"""A duration: seconds, or a timedelta."""

_PRIORITIES = range(-100, 101)


@dataclass(frozen=True, slots=True)
class Options:
    """What `task.options(...)` sets; None leaves the task's default.

    delay: how long to wait before the job may start. eta: the moment instead of the delay, with a
    time zone. priority: from -100 to 100, larger first. queue: instead of the task's. key: while
    an unfinished job has it, enqueueing gives that job instead of a new one. timeout: seconds per
    attempt. retries: attempts after the first. expires: not started within this duration (or
    before this moment): cancelled. id: 32 hexadecimal digits, instead of a new one. key_ttl: the
    key stays taken for so long from the enqueue, though the job has ended: within that time
    enqueueing gives the first job. limit_key: whose share of the task's limits for each key the
    job uses (a customer's id, say). headers: JSON values that `ctx.headers` has.
    transaction: an open connection of the program, in whose transaction the job is written: of
    `asyncpg` or `psycopg` to a PostgreSQL broker's own database, or of `sqlite3` or `aiosqlite` to
    one of the program's, from which a `Relay` moves it to any broker.
    """

    delay: Seconds | None = None
    eta: datetime | None = None
    priority: int | None = None
    queue: str | None = None
    key: str | None = None
    timeout: Seconds | None = None
    retries: int | None = None
    expires: Seconds | datetime | None = None
    id: str | None = None
    key_ttl: Seconds | None = None
    limit_key: str | None = None
    headers: Mapping[str, Any] | None = None
    transaction: Any = None

    def __post_init__(self) -> None:
        if self.delay is not None and self.eta is not None:
            raise ValueError("give delay or eta, not both")
        if self.priority is not None and self.priority not in _PRIORITIES:
            raise ValueError(f"priority={self.priority!r} is not from -100 to 100")
        if self.timeout is not None and seconds(self.timeout) <= 0:
            raise ValueError(f"timeout={self.timeout!r} is not above 0")
        if self.retries is not None and self.retries < 0:
            raise ValueError(f"retries={self.retries!r} is negative")
        if self.key_ttl is not None and (self.key is None or seconds(self.key_ttl) <= 0):
            raise ValueError(f"key_ttl={self.key_ttl!r} is above 0, and goes with a key")
        if self.queue == "" or self.key == "":
            raise ValueError("queue and key cannot be empty")
        if self.id is not None and not _is_id(self.id):
            raise ValueError(f"id={self.id!r} is not 32 hexadecimal digits; see new_job_id()")
        for name in ("eta", "expires"):
            moment = getattr(self, name)
            if isinstance(moment, datetime) and moment.tzinfo is None:
                raise ValueError(f"{name}={moment!r} has no time zone; use datetime.now(UTC), say")

    def over(self, base: Options) -> Options:
        """These options, and the base's where these say nothing."""
        merged: dict[str, Any] = {}
        for field in fields(Options):
            mine = getattr(self, field.name)
            merged[field.name] = getattr(base, field.name) if mine is None else mine
        # A newer delay replaces an older eta, and the reverse.
        if self.delay is not None:
            merged["eta"] = None
        elif self.eta is not None:
            merged["delay"] = None
        return Options(**merged)

    def run_at(self, now: float) -> float | None:
        """When the job may start, in seconds since the epoch; None: at once."""
        if self.delay is not None:
            return now + seconds(self.delay)
        return self.eta.timestamp() if self.eta is not None else None

    def expires_at(self, now: float) -> float | None:
        """When the job is too late to start, in seconds since the epoch."""
        if self.expires is None:
            return None
        if isinstance(self.expires, datetime):
            return self.expires.timestamp()
        return now + seconds(self.expires)


def seconds(duration: Seconds) -> float:
    """A duration as a float."""
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)


def _is_id(text: str) -> bool:
    return len(text) == 32 and all(digit in "0123456789abcdef" for digit in text)
