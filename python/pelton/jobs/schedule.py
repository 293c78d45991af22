"""When a task runs by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pelton._core import NewJob, ScheduleSpec, new_job_id
from pelton.jobs.options import Options
from pelton.jobs.task import Task


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a task runs: by a cron expression, a period, the sun, or once.

    ValueError at once where the expression or the time zone is wrong. The arguments are validated
    when a scheduler starts.
    """

    name: str
    task: Task[..., Any]
    cron: str | None = None
    tz: str = "UTC"
    every: float | None = None
    solar: tuple[str, float, float] | None = None
    at: float | None = None
    grace: float = 60.0
    catch_up: int = 1
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        self._spec(NewJob(id=new_job_id(), task=self.task.name, payload=b""))

    def spec(self) -> ScheduleSpec:
        """The core's form; InvalidArguments where the arguments do not fit the task."""
        return self._spec(self.task.new_job(self.options, self.args, self.kwargs))

    def _spec(self, template: NewJob) -> ScheduleSpec:
        return ScheduleSpec(
            name=self.name,
            template=template,
            cron=self.cron,
            tz=self.tz,
            every=self.every,
            solar=self.solar,
            at=self.at,
            grace=self.grace,
            catch_up=self.catch_up,
        )
