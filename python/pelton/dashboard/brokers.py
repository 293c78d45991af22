"""The brokers whose jobs the dashboard shows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from pelton.dashboard import views

if TYPE_CHECKING:
    from pelton._core import Broker, JobRecord


class Brokers:
    """All brokers of the application, by number, in the order of their URLs."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._views = [BrokerView(url) for url in urls]

    def at(self, number: int) -> BrokerView | None:
        """The broker of that number, if there is one."""
        return self._views[number] if 0 <= number < len(self._views) else None

    async def state(self) -> list[dict[str, Any]]:
        """Queues, workers and schedules of each. Raises BrokerError."""
        return [await view.state() for view in self._views]


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

    async def state(self) -> dict[str, Any]:
        """Queues, workers and schedules."""
        broker = await self._broker()
        queues, workers, schedules = await asyncio.gather(
            self._ask(broker.queues), self._ask(broker.workers), self._ask(broker.schedules)
        )
        return {
            "url": self.url,
            "queues": [views.queue(record) for record in queues],
            "workers": [views.worker(record) for record in workers],
            "schedules": [views.schedule(record) for record in schedules],
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

    async def set_paused(self, queue: str, paused: bool) -> None:
        """Pauses or resumes a queue."""
        broker = await self._broker()
        await self._ask(broker.set_paused, queue, paused)

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
