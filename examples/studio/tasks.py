"""The studio's jobs: what happens to a photo after its upload, and what happens at night."""

import logging
import random
import time
from pathlib import Path

import database
import pictures
import settings
from pelton.jobs import Job, JobContext, Jobs, chain, group
from pictures import Size

logger = logging.getLogger("studio")
jobs = Jobs(f"sqlite:///{settings.JOBS}")


async def process(photo_id: str) -> Job[None]:
    """Enqueues all that is to be done for a photo, in one durable write.

    Three sizes side by side; with all of them, the photo is ready; then its owner is told.
    """
    sizes = group(*(make_size.s(photo_id, width) for width in settings.WIDTHS))
    return await chain(sizes, mark_ready.s(photo_id=photo_id), notify.s()).enqueue()


@jobs.task(cpu=True, queue="images", timeout=60)
def make_size(photo_id: str, width: int) -> Size:
    """Makes one size, in a process of its own."""
    return pictures.shrink(photo_id, width)


@jobs.task
async def mark_ready(sizes: list[Size], photo_id: str) -> str:
    """Records the sizes. A job may run twice, so everything here may happen twice."""
    problem = next((size.problem for size in sizes if size.problem), None)
    async with database.connect() as db:
        if problem is None:
            await db.executemany(
                "INSERT OR REPLACE INTO sizes SELECT id, ?, ?, ? FROM photos WHERE id = ?",
                [(size.width, size.height, size.bytes, photo_id) for size in sizes],
            )
        await db.execute(
            "UPDATE photos SET state = ?, problem = ? WHERE id = ?",
            ("failed" if problem else "ready", problem, photo_id),
        )
    return photo_id


@jobs.task(retries=10, backoff=0.5, backoff_max=20)
async def notify(ctx: JobContext, photo_id: str) -> None:
    """Tells the owner that the photo is ready, through a mail server that is often away."""
    if random.random() < settings.FLAKINESS:
        raise ConnectionError("the mail server hung up")
    async with database.connect() as db:
        await db.execute("UPDATE photos SET notified_at = ? WHERE id = ?", (time.time(), photo_id))
    logger.info("told the owner of %s at attempt %d", photo_id, ctx.attempt)


@jobs.cron("0 3 * * *", tz="Europe/Paris")
async def clean_up() -> int:
    """Every night: removes files that no photo claims; how many those were."""
    async with database.connect() as db:
        rows = await db.execute_fetchall("SELECT id FROM photos")
    claimed = {row["id"] for row in rows}
    yesterday = time.time() - 24 * 3600
    strays = [
        path
        for directory in (settings.ORIGINALS, settings.SIZES)
        for path in directory.iterdir()
        if photo_of(path) not in claimed and path.stat().st_mtime < yesterday
    ]
    for path in strays:
        path.unlink(missing_ok=True)
    return len(strays)


def photo_of(path: Path) -> str:
    """The photo that a file belongs to: `ID` or `ID-WIDTH.webp`."""
    return path.stem.rpartition("-")[0] or path.name if path.suffix else path.name
