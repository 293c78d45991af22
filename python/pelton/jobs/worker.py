"""A worker: runs the jobs of one or more `Jobs` objects on the running loop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from pelton._core import new_job_id
from pelton.jobs._store import shown
from pelton.jobs.errors import InvalidTask
from pelton.jobs.health import HealthServer
from pelton.jobs.jobs import Jobs
from pelton.jobs.lane import Lane, LaneSettings
from pelton.jobs.options import above_0, seconds
from pelton.jobs.orders import Orders
from pelton.jobs.processes import Origin, ProcessLimits, ProcessPool, resident_bytes
from pelton.jobs.program import MAIN_IN_CHILD
from pelton.jobs.signals import stop_signals
from pelton.jobs.task import Task
from pelton.jobs.threads import ThreadPool

_LOGGER = logging.getLogger("pelton.jobs")

CONCURRENCY = 100
THREADS = min(32, (os.cpu_count() or 1) + 4)
PROCESSES = os.cpu_count() or 1


class Worker:
    """Runs jobs until it is stopped.

    jobs: those with the same URL share one connection. queues: those it serves; none given means
    all. concurrency: jobs that it holds at a time, for each broker. threads, processes: how many
    `def` and `cpu=True` tasks run at a time; processes start with the worker if there is a task
    for them. Queues that hold only `cpu=True` tasks are served apart, two jobs for a process: give
    such tasks a queue of their own, and the others need not wait behind them. lease: seconds
    after which the jobs of a killed worker run elsewhere; it is renewed while jobs run. grace:
    seconds that `stop` waits for running jobs. unknown_task_delay: seconds before a job whose task
    is not known here is offered again. app: a module that pool processes import, besides those
    that the tasks are in. log_level: of the pool processes' log on stderr; none without it.
    name: host, process id and a random part by default. max_jobs_per_process, max_rss_per_process:
    after so many jobs, or above so many bytes of memory, a pool process is replaced, between two
    jobs. autoscale: the fewest and the most pool processes: there are as many as there is work
    for, instead of always `processes`.

    `async with Worker(jobs): ...` runs it beside other things on the loop, `await run()` until
    `request_stop()`. Attempts are at least once: a worker killed in mid-job runs it again
    elsewhere.
    """

    def __init__(
        self,
        *jobs: Jobs,
        queues: Sequence[str] = (),
        concurrency: int = CONCURRENCY,
        threads: int = THREADS,
        processes: int = PROCESSES,
        lease: float = 15.0,
        grace: float = 30.0,
        unknown_task_delay: float = 30.0,
        app: str | None = None,
        log_level: str | None = None,
        name: str | None = None,
        max_jobs_per_process: int | None = None,
        max_rss_per_process: int | None = None,
        autoscale: tuple[int, int] | None = None,
    ) -> None:
        if not jobs:
            raise ValueError("a worker needs a Jobs object to serve")
        for label, number in (
            ("concurrency", concurrency),
            ("threads", threads),
            ("processes", processes),
        ):
            if number <= 0:
                raise ValueError(f"{label}={number!r} is not above 0")
        above_0(lease, "lease")
        seconds(grace, "grace")
        seconds(unknown_task_delay, "unknown_task_delay")
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{new_job_id()[-6:]}"
        self.grace = grace
        self._jobs = jobs
        self._settings = LaneSettings(
            name=self.name,
            queues=tuple(queues),
            skip=(),
            concurrency=concurrency,
            lease=lease,
            unknown_task_delay=unknown_task_delay,
        )
        self._thread_count = threads
        self._process_count = processes
        self._app = app
        self._log_level = log_level
        self._lanes: list[Lane] = []
        self._threads: ThreadPool | None = None
        self._processes: ProcessPool | None = None
        self._limits_of_processes = ProcessLimits(max_jobs_per_process, max_rss_per_process)
        self._autoscale = autoscale
        self._stop_asked = asyncio.Event()
        self._reporting: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """Jobs that it has leased and not yet ended."""
        return sum(lane.running for lane in self._lanes)

    @property
    def processed(self) -> int:
        """Attempts that have ended here, in whatever way."""
        return sum(lane.processed for lane in self._lanes)

    @property
    def process_ids(self) -> list[int]:
        """The ids of the pool's processes."""
        return self._processes.pids if self._processes is not None else []

    async def start(self) -> None:
        """Opens the brokers and begins to run jobs; BrokerError or InvalidTask."""
        by_url = _tasks_by_url(self._jobs)
        tasks = [task for _, named in by_url.values() for task in named.values()]
        for task in tasks:
            _ = task.arguments, task.returned  # a wrong annotation shows here, not job by job
        self._threads = ThreadPool(asyncio.get_running_loop(), self._thread_count)
        if any(task.kind == "process" for task in tasks):
            self._processes = ProcessPool(
                self._autoscale or self._process_count,
                _origin(tasks, self._app, self._log_level),
                self._limits_of_processes,
            )
            self._processes.start()
        try:
            for jobs, named in by_url.values():
                await jobs.start()
                await _declare_limits(jobs, named)
                for settings in self._lane_settings(named):
                    lane = Lane(jobs.broker, named, settings, self._threads, self._processes)
                    lane.on_orders = self._orders()
                    await lane.start()
                    self._lanes.append(lane)
        except BaseException:
            await self.stop(0.0)
            raise
        self._reporting = asyncio.get_running_loop().create_task(self._report())
        names = ", ".join(sorted(task.name for task in tasks)) or "none"
        _LOGGER.info("worker %s serves %d tasks: %s", self.name, len(tasks), names)

    def _lane_settings(self, named: Mapping[str, Task[..., Any]]) -> list[LaneSettings]:
        """A lane for the queues that hold only jobs for the pool, and one for all others.

        So neither waits for the other, and no more pool jobs are leased than will soon begin:
        those beyond would be missing at other workers.
        """
        every = {task.settings.queue for task in named.values()}
        mixed = {task.settings.queue for task in named.values() if task.kind != "process"}
        served = every & set(self._settings.queues) if self._settings.queues else every
        pool = sorted(served - mixed)
        if not pool:
            return [self._settings]
        most = self._autoscale[1] if self._autoscale is not None else self._process_count
        lanes = [
            replace(
                self._settings,
                name=f"{self.name}-pool",
                queues=pool,
                concurrency=min(most * 2, self._settings.concurrency),
            )
        ]
        others = [queue for queue in self._settings.queues if queue not in pool]
        if others or not self._settings.queues:
            lanes.append(replace(self._settings, queues=others, skip=pool))
        return lanes

    def _orders(self) -> Orders:
        return Orders(
            {
                "grow": self.grow,
                "shrink": lambda n: self.grow(-n),
                "quiet": lambda _: self.quiet(True),
                "wake": lambda _: self.quiet(False),
                "stop": lambda _: self.request_stop(),
            }
        )

    def grow(self, n: int) -> None:
        """Holds `n` more jobs at a time (fewer, where negative; at least one)."""
        for lane in self._lanes:
            lane.concurrency = max(1, lane.concurrency + n)
            lane.changed()

    def quiet(self, rest: bool = True) -> None:
        """Leases no more jobs, and lets those that run end; `quiet(False)` goes on."""
        for lane in self._lanes:
            lane.quiet = rest
            lane.changed()

    @property
    def state(self) -> dict[str, Any]:
        """What `pelton inspect workers` and health checks are told of it."""
        return {
            "concurrency": sum(lane.concurrency for lane in self._lanes),
            "quiet": any(lane.quiet for lane in self._lanes),
            "stopping": self._stop_asked.is_set(),
            "running": self.running,
            "processed": self.processed,
            "rss": resident_bytes(os.getpid()),
            "processes": len(self.process_ids),
        }

    async def _report(self) -> None:
        while True:
            report = json.dumps(self.state).encode()
            for lane in self._lanes:
                lane.report(report)
            await asyncio.sleep(self._settings.lease / 3)

    async def stop(self, grace: float | None = None) -> None:
        """Leases no more, lets running jobs end for `grace` seconds, and returns the others.

        Returned jobs run elsewhere, and this attempt does not count. It takes up to some 10
        seconds more if tasks ignore their cancellation or the broker does not answer.
        """
        self._stop_asked.set()
        if self._reporting is not None:
            self._reporting.cancel()
        patience = self.grace if grace is None else seconds(grace, "grace")
        try:
            await asyncio.gather(*(lane.stop(patience) for lane in self._lanes))
        finally:
            self._lanes = []
            if self._processes is not None:
                await self._processes.close()
            if self._threads is not None:
                self._threads.close()

    def request_stop(self) -> None:
        """Makes `run` stop the worker and return; a second call ends the grace period."""
        if self._stop_asked.is_set():
            for lane in self._lanes:
                lane.hurry()
        self._stop_asked.set()

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Starts, calls `ready`, serves until `request_stop` (or cancellation), and stops."""
        await self.start()
        if ready is not None:
            ready()
        asked = asyncio.ensure_future(self._stop_asked.wait())
        try:
            pumps = [lane.pump for lane in self._lanes]
            await asyncio.wait([asked, *pumps], return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            await self.stop()

    async def __aenter__(self) -> Worker:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()


async def serve_worker(
    *jobs: Jobs,
    ready: Callable[[], None] | None = None,
    health: tuple[str, int] | None = None,
    **options: Any,
) -> None:
    """Runs a `Worker` until SIGTERM or SIGINT; a second signal returns its jobs at once.

    `ready` is called once it serves; `options` are the worker's. health: where `/live`, `/ready`
    and `/metrics` are answered. The brokers are closed at the end.
    """
    worker = Worker(*jobs, **options)
    server = HealthServer(worker, jobs, *health) if health is not None else None
    with stop_signals(worker.request_stop):
        try:
            if server is not None:
                await server.start()
            await worker.run(ready)
        finally:
            if server is not None:
                await server.stop()
            for each in jobs:
                await each.stop()


async def run_ready(*jobs: Jobs, **options: Any) -> None:
    """Runs all jobs that are ready, and those that become ready by it, and returns.

    For tests, and for programs that work off a queue and end. Jobs that wait for their time, or
    for the next attempt, are left; so are those of tasks that are not known here.
    """
    async with Worker(*jobs, unknown_task_delay=3600.0, **options) as worker:
        while True:
            before = worker.processed
            queues = [record for each in jobs for record in await each.queue_records()]
            busy = worker.running or any(
                (record.counts["queued"] and not record.paused) or record.counts["running"]
                for record in queues
            )
            if not busy and worker.processed == before:
                return
            await asyncio.sleep(0.002)


async def _declare_limits(jobs: Jobs, named: Mapping[str, Task[..., Any]]) -> None:
    """Makes the tasks' limits those of the code, but for those that people set."""
    wanted = {
        f"{scope}:{name}": limit
        for name, task in named.items()
        for scope, limit in task.settings.limits.items()
    }
    for old in await jobs.limits():
        if old.declared and old.scope not in wanted and old.scope.partition(":")[2] in named:
            await jobs.call(jobs.broker.declare_limit, old.scope)
    for scope, limit in wanted.items():
        await jobs.call(
            jobs.broker.declare_limit,
            scope,
            concurrency=limit.concurrency,
            rate=limit.rate,
            burst=limit.burst,
        )


def _tasks_by_url(jobs: Sequence[Jobs]) -> dict[str, tuple[Jobs, dict[str, Task[..., Any]]]]:
    found: dict[str, tuple[Jobs, dict[str, Task[..., Any]]]] = {}
    for each in jobs:
        _, named = found.setdefault(each.url, (each, {}))
        for name, task in each.tasks.items():
            if named.setdefault(name, task) is not task:
                place = shown(each.url)
                raise InvalidTask(f"two Jobs objects on {place} have a task {name!r} each")
    return found


def _origin(tasks: Sequence[Task[..., Any]], app: str | None, log_level: str | None) -> Origin:
    modules = {task.fn.__module__ for task in tasks if task.kind == "process"}
    main = getattr(sys.modules["__main__"], "__file__", None) if "__main__" in modules else None
    modules -= {"__main__", MAIN_IN_CHILD}
    first = [app.partition(":")[0]] if app else []
    return Origin([*first, *sorted(modules)], main, list(sys.path), log_level)
