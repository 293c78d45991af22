"""Jobs in the caller's own transaction: there when it is committed, and never if it is not."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import psycopg
import pytest

from pelton.jobs import BrokerError, JobNotFound, Jobs
from tests.jobs.support import PATIENCE, new_jobs, on_loop, working

BROKERS = ("postgresql",)


@pytest.fixture
def jobs(on_broker: None, tmp_path: Path) -> Jobs:
    return new_jobs(tmp_path)


@on_loop
async def test_asyncpg(jobs: Jobs) -> None:
    @jobs.task
    async def double(number: int) -> int:
        return 2 * number

    async with working(jobs):
        connection = await asyncpg.connect(jobs.url)
        await connection.execute("CREATE TABLE orders (number int)")
        within = double.options(transaction=connection)
        rolled_back = connection.transaction()
        await rolled_back.start()
        lost = await within.enqueue(1)
        await rolled_back.rollback()
        async with connection.transaction():
            await connection.execute("INSERT INTO orders VALUES (2)")
            kept = await within.enqueue(2)
            with pytest.raises(JobNotFound):
                await jobs.record(kept.id)
        assert await kept.result(PATIENCE) == 4
        assert [record.id for record in await jobs.records()] == [kept.id]
        assert lost.id != kept.id
        delayed = await within.options(delay=0.01).enqueue(3)
        assert await delayed.result(PATIENCE) == 6
        await connection.close()


@on_loop
async def test_psycopg(jobs: Jobs) -> None:
    @jobs.task
    async def double(number: int) -> int:
        return 2 * number

    async with working(jobs):
        async with await psycopg.AsyncConnection.connect(jobs.url) as connection:
            within = double.options(transaction=connection, key="only")
            async with connection.transaction():
                kept = await within.enqueue(2)
                again = await within.enqueue(3)
                assert again.id == kept.id
            assert await kept.result(PATIENCE) == 4
        with psycopg.connect(jobs.url) as blocking:
            last = double.options(transaction=blocking).delay(5)
        assert await last.result(PATIENCE) == 10
    assert (await jobs.queue_records())[0].counts["succeeded"] == 2


@on_loop
async def test_what_cannot_carry_a_transaction(jobs: Jobs, tmp_path: Path) -> None:
    @jobs.task
    async def double(number: int) -> int:
        return 2 * number

    await jobs.start()
    connection = await asyncpg.connect(jobs.url)
    with pytest.raises(ValueError, match=r"a psycopg\.Connection"):
        double.options(transaction=connection).delay(1)
    other = Jobs(f"sqlite:///{tmp_path / 'jobs.db'}")
    with pytest.raises(ValueError, match="in the same database"):
        await other.task(double.fn).options(transaction=connection).enqueue(1)
    elsewhere = await asyncpg.connect(jobs.url, database="postgres")
    with pytest.raises(BrokerError, match="no pelton_enqueue"):
        await double.options(transaction=elsewhere).enqueue(1)
    await connection.close()
    await elsewhere.close()
    await jobs.stop()
