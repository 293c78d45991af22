"""A photo studio: upload pictures, get them in three sizes. Run it with `pelton run app:app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import accounts
import database
import photos
import progress
import settings
from pelton.web import FastAPI
from pelton.web.responses import FileResponse
from pelton.web.staticfiles import StaticFiles
from tasks import jobs

PAGE = settings.HERE / "page"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Before the first request: the tables, and what a crash left undone."""
    await database.create()
    await photos.resume()
    yield


app = FastAPI(title="Studio", lifespan=lifespan, jobs=jobs)
app.include_router(accounts.router)
app.include_router(photos.router)
app.include_router(progress.router)
app.mount("/page", StaticFiles(directory=PAGE))


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """The page itself."""
    return FileResponse(PAGE / "index.html")
