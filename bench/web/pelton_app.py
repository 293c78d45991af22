"""The app on Pelton: the FastAPI app with its import changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from bench.web.models import PAGE, Item, NewOrder, Order, confirm
from pelton.web import Depends, FastAPI

app = FastAPI()


async def session() -> AsyncIterator[dict[str, int]]:
    """A dependency that cleans up after the response."""
    opened = {"visits": 1}
    yield opened
    opened.clear()


@app.get("/hello")
async def hello() -> dict[str, str]:
    """The least."""
    return {"hello": "world"}


@app.get("/items/{number}")
async def item(number: int, name: str, limit: int = 10) -> dict[str, int | str]:
    """Typed path and query parameters."""
    return {"number": number, "name": name, "limit": limit}


@app.get("/visits")
async def visits(session: Annotated[dict[str, int], Depends(session)]) -> dict[str, int]:
    """A dependency with `yield`."""
    return {"visits": session["visits"]}


@app.post("/orders")
async def order(order: NewOrder) -> Order:
    """A validated model in and out."""
    return confirm(order)


@app.get("/page")
async def page() -> list[Item]:
    """Fifty models."""
    return PAGE


@app.get("/sync")
def sync() -> dict[str, str]:
    """A `def` endpoint, in the thread pool."""
    return {"hello": "world"}
