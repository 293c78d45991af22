"""Jobs that a PostgreSQL broker's function writes, in the caller's own transaction."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

from pelton._core import BrokerError, NewJob

if TYPE_CHECKING:
    from pelton.jobs.jobs import Jobs

_SCHEMES = ("postgresql", "postgres")


def is_postgres(connection: Any) -> bool:
    """Whether it is a connection of asyncpg or psycopg."""
    return _package(connection) in ("asyncpg", "psycopg")


async def write_within(connection: Any, jobs: Jobs, new: NewJob) -> str:
    """Writes a job by a connection of asyncpg, or an async one of psycopg; its id.

    It is there when the connection's transaction is committed, and never if it is not.
    ValueError: the broker, or the connection, is of another kind.
    """
    written = _checked(jobs, new)
    await jobs.start()  # so that the tables are there
    try:
        if _package(connection) == "asyncpg":
            rows = await connection.fetch("SELECT * FROM pelton_enqueue($1::json)", written)
        elif inspect.iscoroutinefunction(connection.execute):
            cursor = await connection.execute("SELECT * FROM pelton_enqueue(%s::json)", [written])
            rows = await cursor.fetchall()
        else:
            raise ValueError(
                f"transaction={connection!r}: awaited, a job goes by a connection of asyncpg or a "
                "psycopg.AsyncConnection"
            )
    except Exception as error:
        raise _explained(error) from error
    return str(rows[0][0])


def write_within_blocking(connection: Any, jobs: Jobs, new: NewJob) -> str:
    """`write_within` by a psycopg.Connection, blocking the thread."""
    written = _checked(jobs, new)
    if _package(connection) != "psycopg" or inspect.iscoroutinefunction(connection.execute):
        raise ValueError(
            f"transaction={connection!r}: not awaited, a job goes by a psycopg.Connection"
        )
    _ = jobs.broker  # so that the tables are there
    try:
        cursor = connection.execute("SELECT * FROM pelton_enqueue(%s::json)", [written])
        return str(cursor.fetchall()[0][0])
    except Exception as error:
        raise _explained(error) from error


def _checked(jobs: Jobs, new: NewJob) -> str:
    if jobs.url.split("://")[0] not in _SCHEMES:
        raise ValueError(
            "a connection to PostgreSQL carries jobs to a broker in the same database; for other "
            "brokers there is the outbox"
        )
    return json.dumps([new.columns()])


def _package(connection: Any) -> str:
    return type(connection).__module__.split(".")[0]


def _explained(error: Exception) -> Exception:
    if getattr(error, "sqlstate", None) == "42883":  # undefined function
        return BrokerError(
            "the connection's database has no pelton_enqueue: transaction= needs a connection to "
            "the database of the broker, with the same search path"
        )
    return error
