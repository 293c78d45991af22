"""The app on BlackSheep. It has no dependency that cleans up after the response."""

from __future__ import annotations

from blacksheep import Application, FromJSON, Response, json

from bench.web.models import PAGE, NewOrder, confirm

app = Application()


@app.router.get("/hello")
async def hello() -> Response:
    """The least."""
    return json({"hello": "world"})


@app.router.get("/items/{number}")
async def item(number: int, name: str, limit: int = 10) -> Response:
    """Typed path and query parameters."""
    return json({"number": number, "name": name, "limit": limit})


@app.router.post("/orders")
async def order(order: FromJSON[NewOrder]) -> Response:
    """A validated model in and out."""
    return json(confirm(order.value).model_dump())


@app.router.get("/page")
async def page() -> Response:
    """Fifty models."""
    return json([item.model_dump() for item in PAGE])


@app.router.get("/sync")
def sync() -> Response:
    """A `def` endpoint; BlackSheep calls it on the loop."""
    return json({"hello": "world"})
