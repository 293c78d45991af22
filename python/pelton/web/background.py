"""Work that follows a response, in the same process."""

from collections.abc import Callable
from typing import Any, ParamSpec

from starlette.background import BackgroundTasks as StarletteBackgroundTasks

from .telemetry.hooks import operation

P = ParamSpec("P")


class BackgroundTasks(StarletteBackgroundTasks):
    """Functions to call once the response is sent, in order; a failure ends the series.

    Declare an argument of this type. What must survive the process belongs in `pelton.jobs`.
    """

    def add_task(self, func: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None:
        """Adds a call of `func`, which may be ``async def`` or (run in a thread) ``def``."""
        super().add_task(func, *args, **kwargs)

    async def __call__(self) -> None:
        """Runs the tasks."""
        for task in self.tasks:
            with operation("background_task", task.func):
                await task()
