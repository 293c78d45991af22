"""What every framework's app serves: the same models, the same page, the same answers."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Line(BaseModel):
    """A line of an order."""

    sku: str = Field(min_length=3, max_length=12)
    quantity: int = Field(ge=1, le=100)
    price: float = Field(gt=0)


class NewOrder(BaseModel):
    """What a client sends."""

    customer: str = Field(min_length=1, max_length=80)
    express: bool = False
    lines: list[Line]


class Order(NewOrder):
    """What it gets back."""

    id: int
    total: float


class Item(BaseModel):
    """An entry of the page."""

    id: int
    name: str
    price: float
    tags: list[str]


PAGE = [
    Item(id=number, name=f"item {number}", price=number / 4, tags=["a", "b"])
    for number in range(50)
]


def confirm(order: NewOrder) -> Order:
    """The order with its number and total."""
    total = sum(line.quantity * line.price for line in order.lines)
    return Order(id=1, total=total, **order.model_dump())
