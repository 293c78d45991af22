"""The app on Robyn: `python -m bench.web.robyn_app PORT`. It has no dependency with `yield`."""

import sys

from robyn import Robyn

from bench.web.models import PAGE, NewOrder, Order, confirm

app = Robyn(__file__)


@app.get("/hello")
async def hello() -> dict[str, str]:
    """The least."""
    return {"hello": "world"}


@app.get("/items/:number")
async def item(number: int, name: str, limit: int = 10) -> dict[str, int | str]:
    """Typed path and query parameters."""
    return {"number": number, "name": name, "limit": limit}


@app.post("/orders")
async def order(order: NewOrder) -> Order:
    """A validated model in and out."""
    return confirm(order)


@app.get("/page")
async def page() -> list[dict[str, object]]:
    """Fifty models."""
    return [item.model_dump() for item in PAGE]


@app.get("/sync")
def sync() -> dict[str, str]:
    """A `def` endpoint, in Robyn's threads."""
    return {"hello": "world"}


if __name__ == "__main__":
    app.start(host="127.0.0.1", port=int(sys.argv[1]), _check_port=False)
