"""How attempts ended, on its way to the broker."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pelton._core import BrokerError, LeasedJob, Outcome, Settled, WorkerSession
from pelton.jobs.attempt import Failure, failed

_LOGGER = logging.getLogger("pelton.jobs")

_RETRY_SECONDS_MIN = 0.1
_RETRY_SECONDS_MAX = 5.0  # between two tries when the broker fails
_APART_SECONDS_MAX = 1.0  # the same, of outcomes one by one
_BATCH_TRIES = 5  # then its outcomes are written one by one: one of them may be what is wrong
_REFUSALS_MAX = 5  # of an outcome alone, while the broker takes others; then it is a failure


class Outcomes:
    """Writes outcomes, in the loop's thread.

    Those of one turn of the loop go to the broker in one write, and those that gather while a
    write is under way in the next. Where a write fails, the broker may be away, or one outcome may
    be such that it cannot be stored. The others must not wait for that one: the outcomes of a
    batch that fails are written one by one, beside the batches that follow, and one that is
    refused, though the broker takes others, becomes the failure of its job.

    changed: called when outcomes were written.
    """

    def __init__(self, session: WorkerSession, changed: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._session = session
        self._changed = changed
        self._gathered: list[_Entry] = []
        self._flushing = False
        self._tries = 0  # of the batch that is gathered
        self._apart: deque[_Entry] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._writes = 0  # that succeeded
        self._failures: dict[str, tuple[str, Failure]] = {}  # for the log
        self.unwritten = 0

    def add(
        self, job: LeasedJob, outcome: Outcome, failure: tuple[str, Failure] | None = None
    ) -> None:
        """Takes an outcome; `failure`: what the log says once it is written, and of which task."""
        if failure is not None:
            self._failures[job.id] = failure
        self._gathered.append(_Entry(job, outcome, self._writes))
        self.unwritten += 1
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    async def close(self) -> None:
        """Gives up what could not be written."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait([self._writer])

    def _flush(self) -> None:
        batch, self._gathered = self._gathered, []
        waiter = self._write(batch)
        waiter.add_done_callback(functools.partial(self._flushed, batch))

    def _write(self, entries: list[_Entry]) -> asyncio.Future[list[Settled]]:
        waiter: asyncio.Future[list[Settled]] = self._loop.create_future()
        try:
            self._session.finish([entry.outcome for entry in entries], waiter=waiter)
        except Exception as error:
            waiter.set_exception(error)
        return waiter

    def _flushed(self, batch: list[_Entry], waiter: asyncio.Future[list[Settled]]) -> None:
        error = waiter.exception()
        if error is not None:
            self._failed(batch, error)
            return
        self._written(waiter.result())
        self._next_batch()

    def _failed(self, batch: list[_Entry], error: BaseException) -> None:
        # Their leases are renewed meanwhile: nothing is lost, unless the broker stays away.
        _LOGGER.error("cannot write %d outcomes, trying again: %s", len(batch), error)
        self._tries += 1
        if self._tries < _BATCH_TRIES and isinstance(error, BrokerError):
            self._gathered = batch + self._gathered
            self._loop.call_later(_pause(self._tries), self._flush)
            return
        self._apart.extend(batch)
        if self._writer is None or self._writer.done():
            self._writer = self._loop.create_task(self._write_apart())
        self._next_batch()

    def _next_batch(self) -> None:
        self._tries = 0
        if self._gathered:
            self._flush()
        else:
            self._flushing = False

    async def _write_apart(self) -> None:
        tries = 0
        while self._apart:
            entry = self._apart.popleft()
            try:
                settled = await self._write([entry])
            except Exception as error:
                at_once = self._refused(entry, error)
                # Behind the others: whatever is wrong with it, they do not wait for it.
                self._apart.append(entry)
                if not at_once:
                    tries += 1
                    await asyncio.sleep(min(_pause(tries), _APART_SECONDS_MAX))
            else:
                tries = 0
                self._written(settled)

    def _refused(self, entry: _Entry, error: Exception) -> bool:
        """Makes an outcome that the broker does not take, though it takes others, a failure.

        Whether it was made one.
        """
        if self._writes > entry.writes:
            entry.refusals += 1
        entry.writes = self._writes
        job = entry.job
        _LOGGER.error("cannot write the outcome of %s[%s]: %s", job.task, job.id, error)
        # ValueError: the broker looked at it, and it is not as outcomes have to be.
        impossible = isinstance(error, ValueError) or entry.refusals >= _REFUSALS_MAX
        if not impossible or entry.is_replaced:
            return False
        message = f"the broker cannot store how this attempt ended: {error}"
        end = failed("OutcomeRefused", message, retry=False)
        self._failures[job.id] = (job.task, end)
        entry.outcome = Outcome.failure(job, end.error, retry=False)
        entry.is_replaced = True
        return True

    def _written(self, all_settled: list[Settled]) -> None:
        self._writes += 1
        self.unwritten -= len(all_settled)
        if self._failures:
            for settled in all_settled:
                self._log(settled)
        self._changed()

    def _log(self, settled: Settled) -> None:
        name, end = self._failures.pop(settled.id, ("", None))
        if end is None:
            return
        extra: dict[str, Any] = {"job_id": settled.id, "job_task": name}
        level, what = logging.WARNING, "failed and will be tried again"
        if settled.state == "stale":
            what = "failed after its lease was lost"
        elif settled.state == "dead":
            level, what = logging.ERROR, "is dead"
        _LOGGER.log(level, "%s[%s] %s: %s", name, settled.id, what, end.summary, extra=extra)


@dataclass(slots=True)
class _Entry:
    job: LeasedJob
    outcome: Outcome
    writes: int  # that had succeeded when it came, or was refused last
    refusals: int = 0
    is_replaced: bool = False


def _pause(tries: int) -> float:
    seconds: float = min(_RETRY_SECONDS_MIN * 2.0 ** min(tries - 1, 10), _RETRY_SECONDS_MAX)
    return seconds
