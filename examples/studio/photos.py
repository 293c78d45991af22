"""Photos: uploading, listing, looking, deleting."""

import asyncio
import json
import secrets
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import aiosqlite
from pydantic import BaseModel

import database
import pictures
import settings
import tasks
from accounts import CurrentUser, Database
from pelton.web import APIRouter, HTTPException, UploadFile
from pelton.web import Path as PathParameter
from pelton.web.responses import FileResponse

router = APIRouter(prefix="/photos", tags=["photos"])
CHUNK = 1 << 18

PhotoId = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$")]


class Photo(BaseModel):
    """A photo as the page sees it. Who knows its id can see it, so ids cannot be guessed."""

    id: str
    title: str
    state: Literal["processing", "ready", "failed"]
    problem: str | None
    width: int
    height: int
    created_at: float
    notified: bool
    sizes: dict[int, str]
    """Addresses by width in pixels."""


@router.post("", status_code=201)
async def upload(file: UploadFile, user: CurrentUser) -> Photo:
    """Stores a picture, records it and enqueues its processing: durable when this answers."""
    photo_id = secrets.token_hex(16)
    path = settings.ORIGINALS / photo_id
    try:
        await store(file, path)
        width, height = await asyncio.to_thread(pictures.inspect, path)
    except pictures.NotAPicture as error:
        path.unlink(missing_ok=True)
        raise HTTPException(415, str(error)) from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    title = Path(file.filename or "photo").stem[:100] or "photo"
    async with database.connect() as db:
        await db.execute(
            "INSERT INTO photos (id, user_id, title, width, height, state, created_at) "
            "VALUES (?, ?, ?, ?, ?, 'processing', ?)",
            (photo_id, user.id, title, width, height, time.time()),
        )
    await begin(photo_id)
    async with database.connect() as db:
        return await find(db, photo_id, user.id)


@router.get("")
async def mine(user: CurrentUser, db: Database) -> list[Photo]:
    """The user's photos, newest first."""
    rows = await db.execute_fetchall(
        f"{SELECT} WHERE user_id = ? ORDER BY created_at DESC LIMIT 500", (user.id,)
    )
    return [photo(row) for row in rows]


@router.delete("/{photo_id}", status_code=204)
async def delete(photo_id: PhotoId, user: CurrentUser, db: Database) -> None:
    """Removes a photo and its files."""
    await find(db, photo_id, user.id)
    await db.execute("DELETE FROM photos WHERE id = ?", (photo_id,))
    await db.commit()
    for width in settings.WIDTHS:
        pictures.size_path(photo_id, width).unlink(missing_ok=True)
    (settings.ORIGINALS / photo_id).unlink(missing_ok=True)


@router.get("/{photo_id}/{width}.webp")
async def picture(photo_id: PhotoId, width: int) -> FileResponse:
    """One size of a photo."""
    path = pictures.size_path(photo_id, width)
    if width not in settings.WIDTHS or not path.exists():
        raise HTTPException(404, "There is no such picture.")
    headers = {"cache-control": "private, max-age=31536000, immutable"}
    return FileResponse(path, media_type="image/webp", headers=headers)


async def store(file: UploadFile, path: Path) -> None:
    """Writes an upload to `path`; 413 if it is too large."""
    size = 0
    with path.open("wb") as target:
        while chunk := await file.read(CHUNK):
            size += len(chunk)
            if size > settings.UPLOAD_BYTES:
                limit = settings.UPLOAD_BYTES // (1024 * 1024)
                raise HTTPException(413, f"Pictures may have {limit} MB.")
            await asyncio.to_thread(target.write, chunk)


async def begin(photo_id: str) -> None:
    """Enqueues a photo's processing and remembers the workflow."""
    last = await tasks.process(photo_id)
    workflow = (await last.info()).group
    async with database.connect() as db:
        await db.execute("UPDATE photos SET workflow = ? WHERE id = ?", (workflow, photo_id))


async def resume() -> None:
    """Begins again what a crash interrupted between the record and the enqueue."""
    async with database.connect() as db:
        rows = await db.execute_fetchall(
            "SELECT id FROM photos WHERE state = 'processing' AND workflow IS NULL"
        )
    for row in rows:
        await begin(row["id"])


async def find(db: aiosqlite.Connection, photo_id: str, user_id: int) -> Photo:
    """A photo of a user, or 404."""
    rows = await db.execute_fetchall(f"{SELECT} WHERE id = ? AND user_id = ?", (photo_id, user_id))
    for row in rows:
        return photo(row)
    raise HTTPException(404, "There is no such photo.")


async def workflow_of(photo_id: str, user_id: int) -> str | None:
    """The workflow that processes a user's photo."""
    async with database.connect() as db:
        rows = await db.execute_fetchall(
            "SELECT workflow FROM photos WHERE id = ? AND user_id = ?", (photo_id, user_id)
        )
    return next((row["workflow"] for row in rows), None)


SELECT = """
SELECT *, (SELECT json_group_array(width) FROM sizes WHERE photo_id = photos.id) AS widths
FROM photos
"""


def photo(row: Any) -> Photo:
    """A row of `SELECT` as the page sees it."""
    widths = sorted(json.loads(row["widths"]))
    return Photo(
        **{name: row[name] for name in ("id", "title", "state", "problem", "width", "height")},
        created_at=row["created_at"],
        notified=row["notified_at"] is not None,
        sizes={width: f"photos/{row['id']}/{width}.webp" for width in widths},
    )
