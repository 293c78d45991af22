"""The app on Litestar."""

from __future__ import annotations

from collections.abc import AsyncIterator

from litestar import Litestar, get, post
from litestar.di import Provide

from bench.web.models import PAGE, Item, NewOrder, Order, confirm


async def open_session() -> AsyncIterator[dict[str, int]]:
    """A dependency that cleans up after the response."""
    opened = {"visits": 1}
    yield opened
    opened.clear()


@get("/hello")
async def hello() -> dict[str, str]:
    """The least."""
    return {"hello": "world"}


@get("/items/{number:int}")
async def item(number: int, name: str, limit: int = 10) -> dict[str, int | str]:
    """Typed path and query parameters."""
    return {"number": number, "name": name, "limit": limit}


@get("/visits", dependencies={"session": Provide(open_session)})
async def visits(session: dict[str, int]) -> dict[str, int]:
    """A dependency with `yield`."""
    return {"visits": session["visits"]}


@post("/orders", status_code=200)
async def order(data: NewOrder) -> Order:
    """A validated model in and out."""
    return confirm(data)


@get("/page")
async def page() -> list[Item]:
    """Fifty models."""
    return PAGE


@get("/sync", sync_to_thread=True)
def sync() -> dict[str, str]:
    """A `def` endpoint, in the thread pool."""
    return {"hello": "world"}


app = Litestar([hello, item, visits, order, page, sync])
