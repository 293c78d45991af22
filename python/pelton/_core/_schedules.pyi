"""Schedules: as they are written, and as they are read back."""

from __future__ import annotations

from typing import final

from ._jobs import NewJob

@final
class ScheduleSpec:
    """A schedule. Exactly one of `cron`, `every`, `solar` and `at` is given.

    `cron`: five fields, or six with seconds first. `tz`: an IANA name. `every`: seconds. `solar`:
    an event of the sun, latitude, longitude. `at`: once, in seconds since the epoch. `catch_up`:
    how many missed ticks fire at most, the newest.
    `template`: a NewJob whose id, key and run_at are ignored. A tick that a stopped scheduler
    missed fires once on return if it is younger than `grace` seconds.
    """

    def __new__(
        cls,
        *,
        name: str,
        template: NewJob,
        cron: str | None = None,
        tz: str = "UTC",
        every: float | None = None,
        solar: tuple[str, float, float] | None = None,
        at: float | None = None,
        grace: float = 60.0,
        catch_up: int = 1,
    ) -> ScheduleSpec: ...
    name: str

@final
class ScheduleRecord:
    name: str
    task: str
    queue: str
    cron: str | None
    tz: str
    every: float | None
    next_at: float | None
    last_at: float | None
    last_job: str | None
    owner: str  # "@api": made at run time
    paused: bool
    grace: float
    catch_up: int
