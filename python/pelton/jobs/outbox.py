"""Jobs that exist exactly if the program's own transaction commits.

`task.options(transaction=connection).enqueue(...)` writes the job as a row of `pelton_outbox` in
the program's own database, with the program's own connection: in its transaction, by its own copy
of SQLite. A `Relay` moves the rows to the broker. A broker's own file is refused: a process has
one copy of SQLite in Pelton and another in Python's `sqlite3`, which do not see each other's locks
on one file. See docs/design/jobs-workflows.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pelton._core import BrokerError, NewJob, RetryPolicy

if TYPE_CHECKING:
    from pelton.jobs.jobs import Jobs

_LOGGER = logging.getLogger("pelton.jobs")

TABLE = (
    "CREATE TABLE IF NOT EXISTS pelton_outbox "
    "(id TEXT PRIMARY KEY, created_at REAL NOT NULL, job TEXT NOT NULL)"
)
"""What the program's database needs; `sqlite3` and `aiosqlite` connections get it by themselves."""

RECORD_SECONDS = 3600.0
"""So long at least the record of a moved job is kept, whatever its `result_ttl`: by it a relay that
crashed before it could delete the job's row knows that the job was moved."""

_BATCH = 500
_POLL_SECONDS = 0.1
_RETRY_SECONDS_MAX = 5.0


async def write(jobs: Jobs, connection: Any, fields: dict[str, Any]) -> None:
    """Writes a job's fields into the open transaction of an asynchronous or plain connection."""
    for statement, values in _statements(fields):
        made = connection.execute(statement, values)
        if inspect.isawaitable(made):
            made = await made
        if statement.startswith("PRAGMA"):
            rows = made.fetchall()
            _refuse_own_file(jobs, await rows if inspect.isawaitable(rows) else rows)


def write_blocking(jobs: Jobs, connection: Any, fields: dict[str, Any]) -> None:
    """`write`, with a plain connection."""
    for statement, values in _statements(fields):
        made = connection.execute(statement, values)
        if inspect.isawaitable(made):
            made.close()  # type: ignore[attr-defined]
            raise TypeError("delay() takes a plain connection: await enqueue() for this one")
        if statement.startswith("PRAGMA"):
            _refuse_own_file(jobs, made.fetchall())


def _statements(fields: dict[str, Any]) -> list[tuple[str, tuple[Any, ...]]]:
    return [
        ("PRAGMA database_list", ()),
        (TABLE, ()),
        (
            "INSERT INTO pelton_outbox (id, created_at, job) VALUES (?, ?, ?)",
            (fields["id"], time.time(), packed(fields)),
        ),
    ]


def _refuse_own_file(jobs: Jobs, databases: Sequence[Sequence[Any]]) -> None:
    broker = jobs.url.removeprefix("sqlite:///").partition("?")[0]
    for _, _, file in databases:
        if file and Path(file).resolve() == Path(broker).resolve():
            raise ValueError(
                f"{file} is the broker's own file: keep the program's tables in another one, and "
                "let a Relay move its jobs (two copies of SQLite in one process do not see each "
                "other's locks)"
            )


def packed(fields: dict[str, Any]) -> str:
    """A job as the outbox keeps it: JSON."""
    plain = dict(fields)
    retry = plain.pop("retry")
    names = ("max_retries", "base_delay", "max_delay", "factor", "jitter")
    plain["retry"] = {name: getattr(retry, name) for name in names}
    for name in ("payload", "headers"):
        plain[name] = None if plain.get(name) is None else plain[name].decode()
    return json.dumps(plain)


def unpacked(text: str) -> NewJob:
    """A job from what the outbox kept; ValueError, KeyError or TypeError where it is none."""
    fields = json.loads(text)
    fields["retry"] = RetryPolicy(**fields["retry"])
    fields["result_ttl"] = max(fields["result_ttl"], RECORD_SECONDS)
    fields["payload"] = fields["payload"].encode()
    headers = fields.get("headers")
    fields["headers"] = None if headers is None else headers.encode()
    return NewJob(**fields)


class Relay:
    """Moves jobs from a database's outbox to the broker, each at least once.

    connect: makes a DB-API connection, used in one thread at a time: `lambda: sqlite3.connect(path,
    check_same_thread=False)`. A job that was moved before a crash, and is found again, is known by
    its record, which is kept for an hour at least; only where nothing relays for longer than that
    (and than the job's `result_ttl`) after such a crash, it is enqueued again. Any number of relays
    may run. `async with Relay(jobs, connect):` runs it beside other things; `await relay.flush()`
    moves what is there now. A row that is no job, or one that the broker cannot take, stays where
    it is, and the others are moved; a relay that runs names it in the log once, and tries it again
    when it is made anew.
    """

    def __init__(self, jobs: Jobs, connect: Callable[[], Any], *, mark: str = "?") -> None:
        self._jobs = jobs
        self._connect = connect
        self._mark = mark
        self._connection: Any = None
        self._task: asyncio.Task[None] | None = None
        self._moving = asyncio.Lock()
        self._aside: dict[str, str] = {}  # rows that cannot be moved, and why

    async def flush(self) -> int:
        """Moves all committed jobs; how many. BrokerError, or the database's errors.

        ValueError: all were moved but those that it names.
        """
        async with self._moving:
            self._aside.clear()
            moved = await self._move()
            if self._aside:
                few = dict(sorted(self._aside.items())[:5])
                raise ValueError(
                    f"{len(self._aside)} rows of the outbox are no jobs, or none that the broker "
                    f"takes: {few}"
                )
        return moved

    async def _move(self) -> int:
        moved = 0
        while True:
            # Those aside are read along, since somebody may have removed or mended them.
            rows = await asyncio.to_thread(self._read, _BATCH + len(self._aside))
            rows = [(id, job) for id, job in rows if id not in self._aside]
            if not rows:
                return moved
            new, broken = _usable(rows)
            self._aside.update(broken)
            self._aside.update(await self._enqueue(new))
            done = [id for id, _ in rows if id not in self._aside]
            await asyncio.to_thread(self._delete, done)
            moved += len(done)

    async def _enqueue(self, new: Sequence[NewJob]) -> dict[str, str]:
        """Writes them; those that the broker will never take, and why."""
        refused: dict[str, str] = {}
        try:
            await self._jobs.write(new)
            return refused
        except ValueError:
            pass
        # One of them cannot be written, or is there already, from before a crash: one by one.
        for job in new:
            if await self._jobs.call(self._jobs.broker.get, job.id) is not None:
                continue
            try:
                await self._jobs.write([job])
            except ValueError as error:
                refused[job.id] = str(error)
        return refused

    def _read(self, most: int) -> list[tuple[str, str]]:
        if self._connection is None:
            self._connection = self._connect()
        cursor = self._connection.cursor()
        try:
            cursor.execute(f"SELECT id, job FROM pelton_outbox ORDER BY created_at LIMIT {most}")
        except Exception as error:
            self._connection.rollback()
            if _is_no_table(str(error)):
                return []  # nothing was ever written to it
            raise
        rows = cursor.fetchall()
        self._connection.commit()
        return [(str(id), str(job)) for id, job in rows]

    def _delete(self, ids: Sequence[str]) -> None:
        cursor = self._connection.cursor()
        cursor.executemany(
            f"DELETE FROM pelton_outbox WHERE id = {self._mark}", [(id,) for id in ids]
        )
        self._connection.commit()

    async def _run(self) -> None:
        pause = _POLL_SECONDS
        while True:
            try:
                async with self._moving:
                    before = set(self._aside)
                    await self._move()
                    new = {id: why for id, why in self._aside.items() if id not in before}
                for id, why in new.items():
                    _LOGGER.error("row %s of the outbox cannot be moved, and stays: %s", id, why)
                pause = _POLL_SECONDS
            except BrokerError as error:
                _LOGGER.error("the outbox cannot be moved, trying again: %s", error)
                pause = min(pause * 2, _RETRY_SECONDS_MAX)
            except Exception:
                _LOGGER.exception("the outbox cannot be read, trying again")
                pause = min(pause * 2, _RETRY_SECONDS_MAX)
            await asyncio.sleep(pause)

    async def __aenter__(self) -> Relay:
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._connection is not None:
            await asyncio.to_thread(self._connection.close)
            self._connection = None


def _is_no_table(message: str) -> bool:
    """By the words of SQLite, PostgreSQL and MySQL."""
    words = ("no such table", "does not exist", "doesn't exist")
    return "pelton_outbox" in message and any(each in message for each in words)


def _usable(rows: Sequence[tuple[str, str]]) -> tuple[list[NewJob], dict[str, str]]:
    new: list[NewJob] = []
    broken: dict[str, str] = {}
    for id, text in rows:
        try:
            new.append(unpacked(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            broken[id] = f"it is no job: {error!r}"
    return new, broken
