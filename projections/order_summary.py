"""Order summary: one row an order, keyed by its stream."""

from decimal import Decimal

from sqlalchemy import Column, Index, Integer, MetaData, Numeric, Table, Text

from refold import Event, Projection, Row

order_summary = Projection(
    "order-summary",
    version=1,
    table=Table(
        "order_summary",
        MetaData(),
        Column("order_id", Text, primary_key=True),
        Column("customer_id", Text),
        Column("items", Integer, nullable=False),
        Column("total", Numeric(14, 2), nullable=False),
        Column("returned", Numeric(14, 2), nullable=False),
        Column("status", Text, nullable=False),
        Index("order_summary_customer", "customer_id"),
    ),
    key="stream_id",
)


def _new(event: Event, status: str) -> Row:
    """An order as its first event leaves it."""
    return {
        "customer_id": event.metadata.get("customer_id"),
        "items": 0,
        "total": Decimal(0),
        "returned": Decimal(0),
        "status": status,
    }


@order_summary.on("OrderPlaced")
def placed(row: Row | None, event: Event) -> Row:
    """An order begins."""
    return row or _new(event, "placed")


@order_summary.on("CreditNoteIssued")
def credited(row: Row | None, event: Event) -> Row:
    """Goods come back: a credit note is a stream of its own."""
    return row or _new(event, "credited")


@order_summary.on("ItemAdded")
def added(row: Row | None, event: Event) -> Row:
    """Units are ordered."""
    row = row or _new(event, "placed")
    units = event.data["quantity"]
    value = units * Decimal(event.data["unit_price"])
    return {**row, "items": row["items"] + units, "total": row["total"] + value}


@order_summary.on("ItemReturned")
def returned(row: Row | None, event: Event) -> Row:
    """Units are given back."""
    row = row or _new(event, "credited")
    value = event.data["quantity"] * Decimal(event.data["unit_price"])
    return {**row, "returned": row["returned"] + value}
