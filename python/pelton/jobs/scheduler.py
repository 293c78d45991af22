"""A scheduler: enqueues the jobs of `@jobs.cron` and `@jobs.every` when it is their time."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any

from pelton._core import (
    BrokerError,
    SchedulerSession,
    new_job_id,
)
from pelton.jobs._store import shown
from pelton.jobs.errors import InvalidTask
from pelton.jobs.jobs import Jobs
from pelton.jobs.schedule import Schedule
from pelton.jobs.signals import stop_signals

_LOGGER = logging.getLogger("pelton.jobs")

_SLEEP_SECONDS_MIN = 0.001
_SLEEP_SECONDS_MAX = 30.0
_STANDBY_SECONDS = 1.0  # how soon another scheduler takes a lead that was given up
_RETRY_SECONDS_MAX = 5.0


class Scheduler:
    """Fires the schedules of one or more `Jobs` objects.

    Any number may run, on any machine: for each broker one of them leads, and a tick fires once.
    Starting one makes the broker's list of `owner`'s schedules that of these objects, so schedules
    that are gone from the code are gone. owner: the program, where several share a broker; all
    their schedules are fired by whichever scheduler leads.

    `async with Scheduler(jobs): ...` runs it beside other things, `await run()` until
    `request_stop()`.
    """

    def __init__(self, *jobs: Jobs, owner: str = "", name: str | None = None) -> None:
        if not jobs:
            raise ValueError("a scheduler needs a Jobs object to serve")
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{new_job_id()[-6:]}"
        self._jobs = jobs
        self._owner = owner
        self._tasks: list[asyncio.Task[None]] = []
        self._sessions: list[SchedulerSession] = []
        self._stop_asked = asyncio.Event()

    async def start(self) -> None:
        """Opens the brokers, writes the schedules and begins to fire them.

        BrokerError, or InvalidArguments where a schedule's arguments do not fit its task.
        """
        by_url: dict[str, tuple[Jobs, dict[str, Schedule]]] = {}
        for jobs in self._jobs:
            _, named = by_url.setdefault(jobs.url, (jobs, {}))
            for schedule in jobs.schedules.values():
                if named.setdefault(schedule.name, schedule) is not schedule:
                    raise InvalidTask(
                        f"two Jobs objects on {shown(jobs.url)} have a schedule "
                        f"{schedule.name!r} each"
                    )
        for jobs, named in by_url.values():
            await jobs.start()
            specs = [schedule.spec() for schedule in named.values()]
            session = await asyncio.to_thread(
                SchedulerSession,
                jobs.broker,
                name=self.name,
                schedules=specs,
                owner=self._owner,
            )
            self._sessions.append(session)
            self._tasks.append(asyncio.get_running_loop().create_task(self._serve(session)))
            place = shown(jobs.url)
            _LOGGER.info("scheduler %s has %d schedules on %s", self.name, len(specs), place)

    async def stop(self) -> None:
        """Gives up the lead, so that another scheduler can take it at once."""
        self._stop_asked.set()
        tasks, self._tasks = self._tasks, []
        await asyncio.gather(*tasks)
        sessions, self._sessions = self._sessions, []
        for session in sessions:
            await asyncio.to_thread(session.close)

    def request_stop(self) -> None:
        """Makes `run` stop the scheduler and return."""
        self._stop_asked.set()

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Starts, calls `ready`, serves until `request_stop` (or cancellation), and stops."""
        await self.start()
        if ready is not None:
            ready()
        asked = asyncio.ensure_future(self._stop_asked.wait())
        try:
            await asyncio.wait([asked, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            await self.stop()

    async def __aenter__(self) -> Scheduler:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _serve(self, session: SchedulerSession) -> None:
        led = False
        left: list[str] = []
        retry_seconds = 0.1
        while not self._stop_asked.is_set():
            waiter = asyncio.get_running_loop().create_future()
            try:
                session.step(waiter=waiter)
                leads, fired, unreadable, seconds = await waiter
            except (BrokerError, ValueError) as error:
                _LOGGER.error("cannot fire schedules, trying again: %s", error)
                await self._sleep(retry_seconds)
                retry_seconds = min(retry_seconds * 2, _RETRY_SECONDS_MAX)
                continue
            retry_seconds = 0.1
            if leads != led:
                led = leads
                _LOGGER.info("scheduler %s %s", self.name, "leads" if leads else "stands by")
            if unreadable != left:
                left = unreadable
                for schedule in unreadable:
                    _LOGGER.error(
                        "schedule %s is due, but its rule or its job is not as this release knows "
                        "them: it is left for a newer scheduler, or to be removed",
                        schedule,
                    )
            for schedule, job in fired:
                _LOGGER.info("schedule %s fired job %s", schedule, job)
            most = _SLEEP_SECONDS_MAX if leads else _STANDBY_SECONDS
            await self._sleep(min(max(seconds, _SLEEP_SECONDS_MIN), most))

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop_asked.wait()
        except TimeoutError:
            pass


async def serve_scheduler(
    *jobs: Jobs, ready: Callable[[], None] | None = None, **options: Any
) -> None:
    """Runs a `Scheduler` until SIGTERM or SIGINT, and closes the brokers.

    `ready` is called once it serves; `options` are the scheduler's.
    """
    scheduler = Scheduler(*jobs, **options)
    with stop_signals(scheduler.request_stop):
        try:
            await scheduler.run(ready)
        finally:
            for each in jobs:
                await each.stop()
