"""An app with 1 000 routes, on Pelton and on FastAPI; each is made when it is asked for."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

ROUTES = 1000


class Item(BaseModel):
    """What goes in and comes out."""

    name: str
    price: float = 0.0


def add_routes(app: Any) -> Any:
    """The least, and then routes with a path, a query and a body each."""

    @app.get("/hello")
    async def hello() -> dict[str, str]:
        return {"hello": "world"}

    for number in range(ROUTES - 1):

        @app.put(f"/things-{number}/{{item_id}}")
        async def put(item_id: int, item: Item, detailed: bool = False) -> Item:
            return item

    return app


def __getattr__(name: str) -> Any:
    if name == "pelton_app":
        from pelton.web import FastAPI as Pelton

        return add_routes(Pelton())
    if name == "fastapi_app":
        from fastapi import FastAPI

        return add_routes(FastAPI())
    raise AttributeError(name)
