"""Jobs in the program's own transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from pelton._core import Broker, BrokerError, NewJob
from pelton.jobs import InvalidArguments, JobNotFound, Jobs, Relay, Scheduler
from pelton.jobs.outbox import TABLE

from .support import new_jobs, on_loop, until, working


@on_loop
async def test_a_job_exists_if_the_transaction_commits(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    path = tmp_path / "shop.db"

    @jobs.task
    async def greet(name: str) -> str:
        return f"hello {name}"

    db = sqlite3.connect(path)
    db.execute("CREATE TABLE users (name TEXT)")
    db.commit()
    relay = Relay(jobs, lambda: sqlite3.connect(path, check_same_thread=False))
    async with working(jobs), relay:
        db.execute("INSERT INTO users VALUES ('ann')")
        lost = await greet.options(transaction=db).enqueue("ann")
        db.rollback()
        db.execute("INSERT INTO users VALUES ('bob')")
        options = greet.options(transaction=db, headers={"by": "web"}, priority=3)
        kept = await options.enqueue("bob")
        blocking = options.delay("eve")
        assert await relay.flush() == 0, "not committed yet"
        db.commit()
        assert await job_result(kept) == "hello bob"
        assert await job_result(blocking) == "hello eve"
        assert (await kept.info()).priority == 3
        with pytest.raises(JobNotFound):
            await lost.info()
        await until(lambda: rows(path) == 0, "the outbox is empty")
        with pytest.raises(InvalidArguments):
            await options.enqueue()  # type: ignore[call-arg]
    db.close()


async def job_result(job: object) -> object:
    """Once it is there."""

    async def known() -> bool:
        try:
            await job.info()  # type: ignore[attr-defined]
        except JobNotFound:
            return False
        return True

    await until(known, "it was moved")
    return await job.result(60)  # type: ignore[attr-defined]


def rows(path: Path) -> int:
    db = sqlite3.connect(path)
    (count,) = db.execute("SELECT count(*) FROM pelton_outbox").fetchone()
    db.close()
    return int(count)


@on_loop
async def test_what_was_moved_before_a_crash_is_not_doubled(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    path = tmp_path / "shop.db"

    @jobs.task
    async def one(n: int) -> int:
        return n

    async with aiosqlite.connect(path) as db, jobs:
        handles = [await one.options(transaction=db).enqueue(n) for n in range(3)]
        await db.commit()
        saved = await db.execute_fetchall("SELECT id, created_at, job FROM pelton_outbox")
        relay = Relay(jobs, lambda: sqlite3.connect(path, check_same_thread=False))
        async with relay:
            await relay.flush()
            # As after a crash between the broker's write and the outbox's.
            await db.executemany(
                "INSERT INTO pelton_outbox VALUES (?, ?, ?)", [tuple(row) for row in saved]
            )
            extra = await one.options(transaction=db).enqueue(9)
            await db.commit()
            await until(lambda: rows(path) == 0, "all were moved")
        found = {record.id for record in await jobs.records()}
        assert found == {job.id for job in [*handles, extra]}


@pytest.mark.slow
@on_loop
async def test_a_moved_job_that_has_ended_is_still_known(tmp_path: Path) -> None:
    """Though its result is kept for no time."""
    jobs = new_jobs(tmp_path)
    path = tmp_path / "shop.db"
    ran: list[int] = []

    @jobs.task(result_ttl=0)
    async def one(n: int) -> None:
        ran.append(n)

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, check_same_thread=False)

    class Crashes(Relay):
        """Dies before it has deleted what it moved."""

        def _delete(self, ids: Sequence[str]) -> None:
            raise SystemError("killed")

    async with aiosqlite.connect(path) as db, working(jobs), Scheduler(jobs):
        await one.options(transaction=db).enqueue(1)
        await db.commit()
        with pytest.raises(SystemError):
            await Crashes(jobs, connect).flush()
        await until(lambda: ran == [1], "it ran")
        other = await one.enqueue(2)
        await until(lambda: _is_forgotten(jobs, other.id), "what is kept for no time is gone")
        assert await Relay(jobs, connect).flush() == 1
        await one.enqueue(3)
        await until(lambda: 3 in ran, "another ran")
        assert ran == [1, 2, 3]


async def _is_forgotten(jobs: Jobs, id: str) -> bool:
    try:
        await jobs.record(id)
    except JobNotFound:
        return True
    return False


@on_loop
async def test_the_brokers_own_file_is_refused(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task
    async def one() -> None: ...

    db = sqlite3.connect(tmp_path / "jobs.db")
    with pytest.raises(ValueError, match="own file"):
        await one.options(transaction=db).enqueue()
    db.close()


@on_loop
async def test_rows_that_are_no_jobs_stay(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)
    path = tmp_path / "shop.db"
    db = sqlite3.connect(path)
    own = sqlite3.connect(path, check_same_thread=False)
    relay = Relay(jobs, lambda: own)
    async with jobs:
        assert await relay.flush() == 0
        db.execute(TABLE)
        db.execute("INSERT INTO pelton_outbox VALUES ('x', 0, 'nonsense')")
        db.commit()
        with pytest.raises(ValueError, match="no jobs"):
            await relay.flush()
    assert rows(path) == 1
    db.close()
    own.close()


@on_loop
async def test_rows_that_cannot_be_moved_hold_no_others_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = new_jobs(tmp_path)
    path = tmp_path / "shop.db"

    @jobs.task
    async def one(n: int) -> int:
        return n

    db = sqlite3.connect(path)
    db.execute(TABLE)
    broken = [(f"x{n}", 0, "nonsense") for n in range(600)]  # more than are read at once
    db.executemany("INSERT INTO pelton_outbox VALUES (?, ?, ?)", broken)
    job = await one.options(transaction=db).enqueue(7)
    db.commit()
    async with working(jobs):
        relay = Relay(jobs, lambda: sqlite3.connect(path, check_same_thread=False))
        async with relay:
            assert await job_result(job) == 7
            second = await one.options(transaction=db).enqueue(8)
            db.commit()
            assert await job_result(second) == 8
            with pytest.raises(ValueError, match="600 rows"):
                await relay.flush()
    assert rows(path) == 600
    assert caplog.text.count("row x1 of the outbox cannot be moved") == 1
    db.close()


class Choosy:
    """A broker that cannot do what one job asks of it."""

    def __init__(self, broker: Broker, id: str, error: Exception) -> None:
        self._broker = broker
        self._id = id
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    def enqueue(self, new: Sequence[NewJob], *args: Any, **kwargs: Any) -> Any:
        if any(job.id == self._id for job in new):
            raise self._error
        return self._broker.enqueue(new, *args, **kwargs)


@on_loop
async def test_a_job_that_the_broker_never_takes_holds_no_others_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = new_jobs(tmp_path)
    path = tmp_path / "shop.db"

    @jobs.task
    async def one(n: int) -> int:
        return n

    db = sqlite3.connect(path)
    bad = await one.options(transaction=db).enqueue(0)
    good = [await one.options(transaction=db).enqueue(n) for n in range(3)]
    db.commit()
    async with jobs:
        relay = Relay(jobs, lambda: sqlite3.connect(path, check_same_thread=False))
        choosy = Choosy(jobs.broker, bad.id, ValueError("no such thing"))
        monkeypatch.setattr(jobs, "_broker", choosy)
        async with relay:
            with pytest.raises(ValueError, match="no such thing"):
                await relay.flush()
            assert {record.id for record in await jobs.records()} == {job.id for job in good}
            assert rows(path) == 1
            # That a broker is away is another thing: everything is tried again.
            choosy._error = BrokerError("no connection")
            with pytest.raises(BrokerError, match="no connection"):
                await relay.flush()
        monkeypatch.undo()
        async with Relay(jobs, lambda: sqlite3.connect(path, check_same_thread=False)):
            await until(lambda: rows(path) == 0, "it is moved by a broker that takes it")
        assert (await bad.info()).task == one.name
    db.close()


@on_loop
async def test_what_no_broker_takes_is_refused_at_once(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task
    async def one() -> None: ...

    db = sqlite3.connect(tmp_path / "shop.db")
    wrong = one.options(transaction=db, key="k" * 600)
    with pytest.raises(ValueError, match="a key has 1 to 512 bytes"):
        await wrong.enqueue()
    with pytest.raises(ValueError, match="a key has 1 to 512 bytes"):
        wrong.delay()
    db.close()


@on_loop
async def test_errors_of_the_database_are_told(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    class Denied:
        """A connection whose user may not read the table."""

        def cursor(self) -> Denied:
            return self

        def execute(self, statement: str) -> None:
            raise PermissionError("permission denied for table pelton_outbox")

        def rollback(self) -> None: ...

    async with jobs:
        with pytest.raises(PermissionError, match="denied"):
            await Relay(jobs, Denied).flush()
