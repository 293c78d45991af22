"""Where the jobs of a chaos run are kept, what can happen there, and what may be left."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.link import Link
from tests.jobs import outside
from tests.jobs.servers import SERVERS, Server, running

PATIENCE = 1.0
"""Seconds that Pelton waits for a server that is away, in these runs: some outages are longer."""


class Place:
    """An empty broker whose store fails now and then."""

    url: str

    async def fail(self, chance: random.Random) -> str:
        """Fails for a moment, and returns once all is well again: how it failed."""
        raise NotImplementedError

    def rows_of_workers(self) -> int:
        """How many workers the store has, dead ones too."""
        raise NotImplementedError

    def traces(self, ids: Set[str]) -> list[str]:
        """What is left of these jobs, which were all removed, and of none else."""
        raise NotImplementedError


class SqlitePlace(Place):
    """A file. What fails is that another program holds its lock."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'jobs.db'}?synchronous=normal"

    async def fail(self, chance: random.Random) -> str:
        seconds = chance.uniform(0.2, 2.5)
        path = self.url.removeprefix("sqlite:///").partition("?")[0]
        holder = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _HOLD, path, str(seconds)
        )
        assert await holder.wait() == 0
        return "file locked"

    def rows_of_workers(self) -> int:
        ((count,),) = outside.sqlite(self.url, "SELECT count(*) FROM pelton_workers")
        assert isinstance(count, int)
        return count

    def traces(self, ids: Set[str]) -> list[str]:
        assert outside.sqlite(self.url, "PRAGMA integrity_check") == [["ok"]]
        names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'pelton%'"
        tables = [str(name) for (name,) in outside.sqlite(self.url, names)]
        return _left(tables, lambda sql: outside.sqlite(self.url, sql))


_HOLD = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
db.execute("BEGIN IMMEDIATE")
time.sleep(float(sys.argv[2]))
db.execute("COMMIT")
"""


class ServerPlace(Place):
    """A server behind a link: it is killed, and the link is cut, reset or silent."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._link = Link(server.port)
        self.direct = server.url()
        url = self.direct.replace(f":{server.port}/", f":{self._link.port}/")
        self.url = f"{url}{'&' if '?' in url else '?'}timeout={PATIENCE:g}"

    async def fail(self, chance: random.Random) -> str:
        what = chance.choice(["killed", "killed", "cut", "reset", "stalled"])
        seconds = chance.choice([chance.uniform(0.1, 0.8), chance.uniform(0.8, 3.0)])
        if what == "killed":
            self._server.kill()
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self._server.start)
        elif what == "reset":
            self._link.reset()
            return what
        else:
            (self._link.cut if what == "cut" else self._link.stall)()
            await asyncio.sleep(seconds)
            self._link.mend()
        return what

    def close(self) -> None:
        """Ends the link."""
        self._link.close()


class RedisPlace(ServerPlace):
    """A Redis."""

    def rows_of_workers(self) -> int:
        with outside.Redis(self.direct) as redis:
            return sum(key[0] == "w" and key[1:].isdigit() for key in redis.names())

    def traces(self, ids: Set[str]) -> list[str]:
        """Keys whose name or content has one of the ids in it."""
        wanted = [bytes.fromhex(id) for id in ids]
        with outside.Redis(self.direct) as redis:
            # It remembers for a while which records housekeeping removed: by right.
            keys = [key for key in redis.names() if key != "gone"]
            contents = {key: _dump(redis, key) for key in keys}
        found = [
            f"{key!r} has {id.hex()}"
            for key, content in contents.items()
            for id in wanted
            if id in content
        ]
        # Names of queues, tasks and policies, counters, schedules: a few dozen, whatever was run.
        return found if len(keys) < 60 else [*found, f"{len(keys)} keys: {keys[:80]}"]


def _dump(redis: outside.Redis, key: str) -> bytes:
    """A key's name and all that is in it, one after the other."""
    name = redis.prefix + key
    kind = redis.ask("TYPE", name)
    ask = {
        b"string": ["GET", name],
        b"hash": ["HGETALL", name],
        b"set": ["SMEMBERS", name],
        b"zset": ["ZRANGE", name, 0, -1],
        b"list": ["LRANGE", name, 0, -1],
        b"stream": ["XRANGE", name, "-", "+"],
        b"none": ["GET", name],
    }[kind if isinstance(kind, bytes) else b"none"]
    return name.encode(errors="surrogateescape") + _flat(redis.ask(*ask))


def _flat(value: object) -> bytes:
    if isinstance(value, list):
        return b"\n".join(map(_flat, value))
    return value if isinstance(value, bytes) else str(value).encode()


class PostgresPlace(ServerPlace):
    """A PostgreSQL."""

    def rows_of_workers(self) -> int:
        ((count,),) = outside.postgres(self.direct, "SELECT count(*) FROM pelton_workers")
        return int(count)

    def traces(self, ids: Set[str]) -> list[str]:
        names = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'pelton%'"
        tables = [name for (name,) in outside.postgres(self.direct, names)]
        return _left(tables, lambda sql: outside.postgres(self.direct, sql))


PLACES = {"redis": RedisPlace, "postgresql": PostgresPlace}

_OF_THE_PROGRAM = {
    *("schema", "queues", "tasks", "policies", "schedules", "leader", "limits", "buckets"),
    *("counts", "workers", "lanes"),
}
"""Tables that have rows though there is no job: what was declared, and who was there."""


def _left(tables: list[str], ask: object) -> list[str]:
    """Tables of jobs that are not empty."""
    assert callable(ask)
    left = []
    for table in tables:
        if table.removeprefix("pelton_") in _OF_THE_PROGRAM:
            continue
        # Jobs of schedules may wait for a worker: there is none any more.
        but = "WHERE state NOT IN (2, 3)" if table == "pelton_jobs" else ""
        ((count,),) = ask(f"SELECT count(*) FROM {table} {but}")
        if int(count):
            left.append(f"{count} rows of {table}")
    return left


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[Place]:
    """A place of a kind: "sqlite", or one of the servers'."""
    if kind == "sqlite":
        yield SqlitePlace(folder)
        return
    with running(SERVERS[kind]) as server:
        place = PLACES[kind](server)
        try:
            yield place
        finally:
            place.close()
