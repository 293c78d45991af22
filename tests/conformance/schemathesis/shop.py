"""One program under two frameworks: FastAPI, and what has its names."""

import importlib
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class Size(StrEnum):
    """How large a cup is."""

    small = "small"
    large = "large"


class Cup(BaseModel):
    """One kind of thing."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["cup"]
    size: Size = Size.small
    volume: float = Field(gt=0, le=5)


class Plate(BaseModel):
    """Another."""

    kind: Literal["plate"]
    diameter: int = Field(ge=1, le=100)
    colours: list[Annotated[str, Field(max_length=10)]] = Field(default_factory=list, max_length=5)


class Order(BaseModel):
    """Nested, with a union."""

    number: UUID | None = None
    thing: Annotated[Cup | Plate, Field(discriminator="kind")]
    amount: int = Field(1, ge=1, le=1000, multiple_of=1)
    notes: dict[str, str | int | None] = Field(default_factory=dict)


class Receipt(BaseModel):
    """What comes back; the secret does not."""

    id: int
    order: Order
    total: float


class Filter(BaseModel):
    """Parameters of a query as one model."""

    model_config = ConfigDict(extra="forbid")
    limit: int = Field(10, ge=0, le=50)
    offset: int = Field(0, ge=0)
    tags: list[str] = Field(default_factory=list)
    order: Literal["up", "down"] = "up"


def make(framework: str) -> Any:
    """The app; `framework` is ``fastapi`` or ``pelton.web``."""
    web = importlib.import_module(framework)
    app = web.FastAPI(title="Twin")
    add_orders(app, web)
    add_parameters(app, web)
    add_the_rest(app, web, importlib.import_module(f"{framework}.security"))
    return app


def add_orders(app: Any, web: Any) -> None:
    """What has state, and models in and out."""
    receipts: list[Receipt] = []

    @app.post("/orders", status_code=201, response_model=Receipt)
    async def create(order: Order, response: web.Response) -> dict[str, Any]:
        response.headers["x-number"] = str(len(receipts) + 1)
        receipt = Receipt(id=len(receipts) + 1, order=order, total=order.amount * 1.5)
        receipts.append(receipt)
        return {**receipt.model_dump(), "secret": "not for you"}

    @app.get("/orders", response_model=list[Receipt])
    async def read_all(wanted: Annotated[Filter, web.Query()]) -> list[Receipt]:
        found = receipts if wanted.order == "up" else receipts[::-1]
        return found[wanted.offset : wanted.offset + wanted.limit]

    @app.get("/orders/{number}", response_model=Receipt, responses={404: {"model": None}})
    def read(number: Annotated[int, web.Path(ge=1)]) -> Receipt:
        if number > len(receipts):
            raise web.HTTPException(404, f"there is no order {number}", {"x-orders": "few"})
        return receipts[number - 1]

    @app.delete("/orders/{number}", status_code=204)
    async def delete(number: int) -> None: ...


def add_parameters(app: Any, web: Any) -> None:
    """Values from the head, and from bodies of several parts."""

    async def page(
        skip: Annotated[int, web.Query(ge=0, le=1000)] = 0,
        agent: Annotated[str | None, web.Header(max_length=200)] = None,
    ) -> dict[str, Any]:
        return {"skip": skip, "agent": agent}

    @app.get("/search/{text}")
    async def search(
        text: str,
        page: Annotated[dict[str, Any], web.Depends(page)],
        sizes: Annotated[list[Size], web.Query()] = [],  # noqa: B006
        exact: bool = False,
        ratio: float = 1.0,
    ) -> dict[str, Any]:
        return {"text": text, "page": page, "sizes": sizes, "exact": exact, "ratio": str(ratio)}

    @app.get("/cookie")
    async def cookie(session: Annotated[str | None, web.Cookie()] = None) -> str | None:
        return session

    @app.put("/mixed/{key}")
    async def mixed(
        key: UUID, order: Order, importance: Annotated[int, web.Body(gt=0)], q: str | None = None
    ) -> dict[str, Any]:
        return {"key": key, "order": order, "importance": importance, "q": q}


def add_the_rest(app: Any, web: Any, security: Any) -> None:
    """Forms, files, credentials, and text."""
    responses = importlib.import_module(f"{web.__name__}.responses")
    bearer = security.HTTPBearer()

    @app.post("/form")
    async def form(
        name: Annotated[str, web.Form(min_length=1)], age: Annotated[int | None, web.Form()] = None
    ) -> dict[str, Any]:
        return {"name": name, "age": age}

    @app.post("/file")
    async def file(file: web.UploadFile, note: Annotated[str, web.Form()] = "") -> dict[str, Any]:
        return {"size": len(await file.read()), "name": file.filename, "note": note}

    @app.get("/private")
    async def private(given: Annotated[Any, web.Depends(bearer)]) -> str:
        return str(given.credentials)

    @app.get("/text/{rest:path}", response_class=responses.PlainTextResponse)
    async def text(rest: str) -> str:
        return rest
