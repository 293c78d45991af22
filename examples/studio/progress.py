"""Progress for the page, over a WebSocket.

Jobs run in other processes; their state is in the broker, and `job.updates()` brings each change
of it here. The page says which photos it wants to follow, so any web process can serve it.
"""

import asyncio

import jwt
from pydantic import BaseModel, ValidationError

import accounts
import database
import photos
import settings
import tasks
from pelton.jobs import JobRecord
from pelton.web import APIRouter, HTTPException, WebSocket, WebSocketDisconnect

router = APIRouter()

FOLLOWED = 200
"""Photos that one page may follow at once."""


class Hello(BaseModel):
    """The first message: browsers cannot send a header with a WebSocket."""

    token: str


class Follow(BaseModel):
    """A later one: tell me about this photo."""

    follow: str


@router.websocket("/progress")
async def progress(socket: WebSocket) -> None:
    """Takes a token, then ids of photos; sends `{"photo": …, "steps": …}` as they come along."""
    await socket.accept()
    try:
        hello = Hello.model_validate_json(await socket.receive_text())
        user = accounts.user_of(hello.token)
        async with asyncio.TaskGroup() as followers:
            following: dict[str, asyncio.Task[None]] = {}
            while True:
                wish = Follow.model_validate_json(await socket.receive_text()).follow
                following = {key: task for key, task in following.items() if not task.done()}
                if wish not in following and len(following) < FOLLOWED:
                    following[wish] = followers.create_task(follow(socket, wish, user.id))
    except* WebSocketDisconnect:
        pass
    except* (ValidationError, jwt.InvalidTokenError):
        await socket.close(1008, "Please log in again.")


async def follow(socket: WebSocket, photo_id: str, user_id: int) -> None:
    """Sends a photo's progress until all its jobs have ended."""
    workflow = await photos.workflow_of(photo_id, user_id)
    if workflow is None:
        return
    records = {record.id: record for record in await tasks.jobs.records(group=workflow)}
    async with asyncio.TaskGroup() as watchers:
        for job_id in records:
            watchers.create_task(watch(socket, photo_id, user_id, records, job_id))


async def watch(
    socket: WebSocket, photo_id: str, user_id: int, records: dict[str, JobRecord], job_id: str
) -> None:
    """Sends the whole state of a photo at each change of one of its jobs."""
    job = await tasks.jobs.job(job_id)
    async for record in job.updates():
        records[job_id] = record
        await send(socket, photo_id, user_id, records)


async def send(
    socket: WebSocket, photo_id: str, user_id: int, records: dict[str, JobRecord]
) -> None:
    """One message: the photo, how many sizes are made, and how telling the owner goes."""
    try:
        async with database.connect() as db:
            photo = await photos.find(db, photo_id, user_id)
    except HTTPException:
        return  # deleted meanwhile
    made = sum(
        record.task == tasks.make_size.name and record.state == "succeeded"
        for record in records.values()
    )
    told = next(record for record in records.values() if record.task == tasks.notify.name)
    await socket.send_json(
        {
            "photo": photo.model_dump(mode="json"),
            "made": made,
            "of": len(settings.WIDTHS),
            "notice": {"state": told.state, "attempt": told.attempt},
        }
    )
