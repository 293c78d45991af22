"""How one job differs from its task's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

Seconds = float | timedelta
"""A duration: seconds, or a timedelta."""

SECONDS_MAX = 1e11
"""Thousands of years: a longer duration is a mistake in units, and its end no date."""

_PRIORITIES = range(-100, 101)


@dataclass(frozen=True, slots=True)
class Options:
    """What `task.options(...)` sets; None leaves the task's default.

    delay: how long to wait before the job may start; a negative one is 0. eta: the moment instead
    of the delay, with a time zone. priority: from -100 to 100, larger first. queue: instead of the
    task's. key: while an unfinished job has it, enqueueing gives that job instead of a new one.
    timeout: seconds per attempt. retries: attempts after the first. expires: not started within
    this duration (or before this moment): cancelled. id: 32 hexadecimal digits, instead of a new
    one. key_ttl: the key stays taken for so long from the enqueue, though the job has ended: within
    that time enqueueing gives the first job. limit_key: whose share of the task's limits for each
    key the job uses (a customer's id, say). headers: JSON values that `ctx.headers` has.
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
        if self.delay is not None:
            seconds(self.delay, "delay", least=-SECONDS_MAX)
        if self.timeout is not None:
            above_0(self.timeout, "timeout")
        if self.expires is not None and not isinstance(self.expires, datetime):
            seconds(self.expires, "expires")
        if self.retries is not None and self.retries < 0:
            raise ValueError(f"retries={self.retries!r} is negative")
        if self.key_ttl is not None:
            above_0(self.key_ttl, "key_ttl")
            if self.key is None:
                raise ValueError(f"key_ttl={self.key_ttl!r} goes with a key")
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
            return now + max(seconds(self.delay, "delay", least=-SECONDS_MAX), 0.0)
        return self.eta.timestamp() if self.eta is not None else None

    def expires_at(self, now: float) -> float | None:
        """When the job is too late to start, in seconds since the epoch."""
        if self.expires is None:
            return None
        if isinstance(self.expires, datetime):
            return self.expires.timestamp()
        return now + seconds(self.expires, "expires")


def seconds(duration: Seconds, what: str, *, least: float = 0.0) -> float:
    """A duration as a float; ValueError where it is none that `what` can be."""
    number = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not least <= number <= SECONDS_MAX:  # nor is NaN
        raise ValueError(
            f"{what}={duration!r} is not a duration: seconds or a timedelta, from "
            f"{max(least, 0):g} to {SECONDS_MAX:g} s"
        )
    return number


def above_0(duration: Seconds, what: str) -> float:
    """`seconds` for what cannot be 0."""
    number = seconds(duration, what)
    if number == 0:
        raise ValueError(f"{what}={duration!r} is not above 0")
    return number


def patience(timeout: float | None) -> float | None:
    """How long to wait, at least 0; `inf` is for ever, as None is. ValueError for NaN."""
    if timeout is None or timeout == float("inf"):
        return None
    if timeout != timeout:
        raise ValueError(f"timeout={timeout!r} is no number of seconds")
    return max(timeout, 0.0)


def _is_id(text: str) -> bool:
    return len(text) == 32 and all(digit in "0123456789abcdef" for digit in text)
