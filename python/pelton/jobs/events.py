"""What happens to jobs, told to those who listen in the same process."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

_LOGGER = logging.getLogger("pelton.jobs")

KINDS = ("enqueued", "started", "succeeded", "failed", "suspended", "cancelled")
"""Kinds of events; a job that is tried again fails more than once."""

WAITING_MAX = 10_000
"""Events that wait for a slow listener of `jobs.events()`; above it, the oldest are dropped."""


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job in this process: see `KINDS`."""

    kind: str
    job_id: str
    task: str
    queue: str
    attempt: int = 0
    error: str = ""


Listener = Callable[[JobEvent], object]


class Events:
    """Tells listeners. A listener that raises is logged, and harms nobody."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}
        self._streams: set[_Stream] = set()

    def add(self, kind: str, listener: Listener) -> None:
        """Calls `listener` for each event of a kind, or of all ("*"); ValueError."""
        if kind != "*" and kind not in KINDS:
            raise ValueError(f'no event {kind!r}: "*" or one of {", ".join(KINDS)}')
        self._listeners.setdefault(kind, []).append(listener)

    def tell(self, event: JobEvent) -> None:
        """Tells all that listen to it."""
        for listener in [*self._listeners.get(event.kind, ()), *self._listeners.get("*", ())]:
            try:
                listener(event)
            except Exception:
                _LOGGER.exception("a listener of %r events failed", event.kind)
        for stream in list(self._streams):
            stream.put(event)

    async def stream(self) -> AsyncIterator[JobEvent]:
        """Each event from now on."""
        stream = _Stream()
        self._streams.add(stream)
        try:
            while True:
                yield await stream.get()
        finally:
            self._streams.discard(stream)


class _Stream:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: deque[JobEvent] = deque(maxlen=WAITING_MAX)
        self._there = asyncio.Event()

    def put(self, event: JobEvent) -> None:
        self._events.append(event)
        self._loop.call_soon_threadsafe(self._there.set)

    async def get(self) -> JobEvent:
        while not self._events:
            self._there.clear()
            await self._there.wait()
        return self._events.popleft()
