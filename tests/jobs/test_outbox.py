"""Jobs in the program's own transaction."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import aiosqlite
import pytest

from pelton.jobs import InvalidArguments, JobNotFound, Relay
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
    relay = Relay(jobs, lambda: sqlite3.connect(path, check_same_thread=False))
    async with jobs:
        assert await relay.flush() == 0
        db.execute(TABLE)
        db.execute("INSERT INTO pelton_outbox VALUES ('x', 0, 'nonsense')")
        db.commit()
        with pytest.raises(ValueError, match="no jobs"):
            await relay.flush()
    assert rows(path) == 1
    db.close()
