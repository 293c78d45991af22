"""The studio's own database: users, photos and their sizes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiosqlite

import settings

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    password TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS photos (
    id TEXT PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id),
    title TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('processing', 'ready', 'failed')),
    problem TEXT,
    workflow TEXT,
    notified_at REAL,
    created_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS photos_of_user ON photos (user_id, created_at);
CREATE TABLE IF NOT EXISTS sizes (
    photo_id TEXT NOT NULL REFERENCES photos (id) ON DELETE CASCADE,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (photo_id, width)
);
"""


@asynccontextmanager
async def connect() -> AsyncIterator[aiosqlite.Connection]:
    """A connection for one request or job; what it wrote is committed if nothing went wrong."""
    async with aiosqlite.connect(settings.DATABASE, timeout=30) as connection:
        connection.row_factory = aiosqlite.Row
        await connection.execute("PRAGMA foreign_keys = ON")
        yield connection
        await connection.commit()


async def create() -> None:
    """Makes the tables that are not there yet."""
    async with connect() as db:
        await db.execute("PRAGMA journal_mode = WAL")
        await db.executescript(SCHEMA)


async def session() -> AsyncIterator[aiosqlite.Connection]:
    """`connect` as a dependency of endpoints."""
    async with connect() as db:
        yield db
