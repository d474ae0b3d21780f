"""The tests of a projection: one function for each call."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import Column, MetaData, Numeric, Table, Text

from refold import Event, Projection, Row
from refold.testing import GivenEvent, assert_fold, assert_same_in_batches, given

_TABLE = Table(
    "revenue",
    MetaData(),
    Column("sku", Text, primary_key=True),
    Column("total", Numeric(14, 2), nullable=False),
)
revenue = Projection("revenue", table=_TABLE, key="data.sku")


@revenue.on("ItemSold")
def _sold(row: Row | None, event: Event) -> Row:
    return {"total": Decimal(event.data["price"]) + (row["total"] if row else 0)}


def given_events() -> None:
    """What two events become."""
    rows = given(
        revenue,
        ("order-1", "ItemSold", {"sku": "tea", "price": "4.50"}),
        ("order-2", "ItemSold", {"sku": "tea", "price": "4.00"}, {"customer_id": "ann"}),
    )
    assert rows == {"tea": {"sku": "tea", "total": Decimal("8.50")}}


def assert_folded() -> None:
    """All rows of some events."""
    events: list[GivenEvent] = [
        ("order-1", "ItemSold", {"sku": "tea", "price": "4.50"}),
        ("order-1", "ItemSold", {"sku": "jam", "price": "3.00"}),
    ]
    assert_fold(revenue, events, {"tea": {"total": Decimal("4.50")}, "jam": {"total": 3}})


def assert_pure() -> None:
    """Whether any batches give the same rows."""
    events: list[GivenEvent] = [
        (f"order-{n}", "ItemSold", {"sku": ("tea", "jam")[n % 2], "price": "4.50"})
        for n in range(10)
    ]
    assert_same_in_batches(revenue, events)
