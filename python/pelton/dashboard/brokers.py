"""The brokers whose jobs the dashboard shows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from pelton.dashboard import views

if TYPE_CHECKING:
    from pelton._core import AttemptRecord, Broker, JobRecord

JOBS_SEEN = 200
"""The newest jobs, among which workflows are looked for: each is read with its data."""
WORKFLOWS_SHOWN = 30
TASKS_SHOWN = 6


class Brokers:
    """All brokers of the application, by number, in the order of their URLs."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._views = [BrokerView(url) for url in urls]

    def at(self, number: int) -> BrokerView | None:
        """The broker of that number, if there is one."""
        return self._views[number] if 0 <= number < len(self._views) else None

    async def opened(self) -> list[Broker]:
        """All of them, opened; BrokerError."""
        return [await view._broker() for view in self._views]

    async def state(self) -> list[dict[str, Any]]:
        """Queues, workers and schedules of each. Raises BrokerError."""
        return [await view.state() for view in self._views]

    async def workflows(self) -> list[dict[str, Any]]:
        """The newest workflows of each, with their counts. Raises BrokerError."""
        return [
            {"broker": number} | workflow
            for number, view in enumerate(self._views)
            for workflow in await view.workflows()
        ]


class BrokerView:
    """What the dashboard reads from one broker and does to it. All methods raise BrokerError."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._opened: Broker | None = None
        self._opening = asyncio.Lock()
        self.job_actions: dict[str, Callable[[str], Awaitable[bool]]] = {
            "retry": self._retry,
            "cancel": self._cancel,
            "delete": self._delete,
        }
        self.actions: dict[str, dict[str, Callable[[str], Awaitable[bool]]]] = {
            "queues": {"pause": self._pause, "resume": self._resume, "purge": self._purge},
            "schedules": {
                "pause": self._pause_schedule,
                "resume": self._resume_schedule,
                "run": self._run_schedule,
                "remove": self._remove_schedule,
            },
            "workflows": {"cancel": self._cancel_workflow},
        }

    async def state(self) -> dict[str, Any]:
        """Queues, workers and schedules."""
        from pelton.jobs._store import shown

        broker = await self._broker()
        queues, workers, schedules, limits = await asyncio.gather(
            self._ask(broker.queues),
            self._ask(broker.workers),
            self._ask(broker.schedules),
            self._ask(broker.limits),
        )
        return {
            "url": shown(self.url),
            "queues": [views.queue(record) for record in queues],
            "workers": [views.worker(record) for record in workers],
            "schedules": [views.schedule(record) for record in schedules],
            "limits": [views.limit(record) for record in limits],
        }

    async def jobs(self, *, limit: int, **filters: str) -> list[JobRecord]:
        """Newest first; filters as `Broker.list_jobs` takes them."""
        broker = await self._broker()
        found: list[JobRecord] = await self._ask(broker.list_jobs, limit=limit, **filters)
        return found

    async def job(self, identity: str) -> JobRecord | None:
        """One job, if it is known."""
        broker = await self._broker()
        found: JobRecord | None = await self._ask(broker.get, identity)
        return found

    async def attempts(self, identity: str) -> list[AttemptRecord]:
        """The attempts of a job that did not succeed."""
        broker = await self._broker()
        found: list[AttemptRecord] = await self._ask(broker.history, identity)
        return found

    async def workflows(self) -> list[dict[str, Any]]:
        """Workflows of which a job is among the newest: their tasks, and how far they are."""
        found: dict[str, dict[str, Any]] = {}
        for job in await self.jobs(limit=JOBS_SEEN):
            if job.group is None or (job.group not in found and len(found) == WORKFLOWS_SHOWN):
                continue
            one = found.setdefault(job.group, {"id": job.group, "tasks": {}, "states": Counter()})
            one["created_at"] = job.created_at
            one["tasks"][job.task] = None
            one["states"][job.state] += 1
        for one in found.values():
            # Where the broker cannot count, those that were seen are what is known.
            one["counts"] = await self.workflow(one["id"]) or one["states"]
            del one["states"]
            one["tasks"] = list(reversed(one["tasks"]))[:TASKS_SHOWN]
        return list(found.values())

    async def workflow(self, identity: str) -> dict[str, int]:
        """How many jobs of a workflow are in each state."""
        broker = await self._broker()
        counts: dict[str, int] = await self._ask(broker.group_counts, identity)
        return counts

    async def set_paused(self, queue: str, paused: bool) -> None:
        """Pauses or resumes a queue."""
        broker = await self._broker()
        await self._ask(broker.set_paused, queue, paused)

    async def _purge(self, queue: str) -> bool:
        broker = await self._broker()
        while await self._ask(broker.purge_queue, queue):
            pass
        return True

    async def _pause(self, queue: str) -> bool:
        await self.set_paused(queue, True)
        return True

    async def _resume(self, queue: str) -> bool:
        await self.set_paused(queue, False)
        return True

    async def _cancel_workflow(self, identity: str) -> bool:
        broker = await self._broker()
        return bool(await self._ask(broker.cancel_group, identity, "from the dashboard"))

    async def _pause_schedule(self, name: str) -> bool:
        broker = await self._broker()
        return bool(await self._ask(broker.pause_schedule, name, True))

    async def _resume_schedule(self, name: str) -> bool:
        broker = await self._broker()
        return bool(await self._ask(broker.pause_schedule, name, False))

    async def _run_schedule(self, name: str) -> bool:
        broker = await self._broker()
        return bool(await self._ask(broker.run_schedule, name))

    async def _remove_schedule(self, name: str) -> bool:
        broker = await self._broker()
        return bool(await self._ask(broker.remove_schedule, name))

    async def _retry(self, identity: str) -> bool:
        broker = await self._broker()
        return bool(await self._ask(broker.retry, identity))

    async def _cancel(self, identity: str) -> bool:
        broker = await self._broker()
        return bool(await self._ask(broker.cancel, identity, "from the dashboard"))

    async def _delete(self, identity: str) -> bool:
        broker = await self._broker()
        return bool(await self._ask(broker.delete, identity))

    async def _broker(self) -> Broker:
        async with self._opening:
            if self._opened is None:
                from pelton._core import Broker

                # Opening may migrate the database, so not in the loop's thread.
                self._opened = await asyncio.to_thread(Broker, self.url)
        return self._opened

    @staticmethod
    async def _ask(method: Callable[..., Any], *args: Any, **settings: Any) -> Any:
        """Calls a method of the core's broker with a waiter, and awaits that."""
        waiter: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        method(*args, waiter=waiter, **settings)
        return await waiter
