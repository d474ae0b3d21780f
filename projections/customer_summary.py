"""Customer summary: one row a customer, over all of the customer's orders."""

from decimal import Decimal

from sqlalchemy import Column, DateTime, Integer, MetaData, Numeric, Table, Text

from refold import Event, Projection, Row

customer_summary = Projection(
    "customer-summary",
    version=1,
    table=Table(
        "customer_summary",
        MetaData(),
        Column("customer_id", Text, primary_key=True),
        Column("total_orders", Integer, nullable=False),
        Column("lifetime_value", Numeric(14, 2), nullable=False),
        Column("returned_value", Numeric(14, 2), nullable=False),
        Column("first_seen", DateTime(timezone=True), nullable=False),
        Column("last_seen", DateTime(timezone=True), nullable=False),
    ),
    key="metadata.customer_id",  # sales without a customer are skipped
)


def _seen(row: Row | None, event: Event) -> Row:
    """The customer's row, with this event's time taken in."""
    if row is None:
        return {
            "total_orders": 0,
            "lifetime_value": Decimal(0),
            "returned_value": Decimal(0),
            "first_seen": event.recorded_at,
            "last_seen": event.recorded_at,
        }
    return {
        **row,
        "first_seen": min(row["first_seen"], event.recorded_at),
        "last_seen": max(row["last_seen"], event.recorded_at),
    }


def _value(event: Event) -> Decimal:
    value: Decimal = event.data["quantity"] * Decimal(event.data["unit_price"])
    return value


@customer_summary.on("OrderPlaced")
def ordered(row: Row | None, event: Event) -> Row:
    """One more order."""
    row = _seen(row, event)
    return {**row, "total_orders": row["total_orders"] + 1}


@customer_summary.on("ItemAdded")
def bought(row: Row | None, event: Event) -> Row:
    """The customer's value grows."""
    row = _seen(row, event)
    return {**row, "lifetime_value": row["lifetime_value"] + _value(event)}


@customer_summary.on("ItemReturned")
def returned(row: Row | None, event: Event) -> Row:
    """Goods came back; lifetime value stays gross, returns stand beside it."""
    row = _seen(row, event)
    return {**row, "returned_value": row["returned_value"] + _value(event)}
