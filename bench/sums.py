"""The read model of the bench of projections said in SQL: order-summary, as a select."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    Column,
    Index,
    Integer,
    MetaData,
    Numeric,
    Select,
    Table,
    Text,
    case,
    cast,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from refold import BackfillPolicy, SqlProjection

TYPES = ["OrderPlaced", "ItemAdded", "ItemReturned", "CreditNoteIssued"]


def rows(events: Any) -> Select[Any]:
    """One row an order, as `bench.rebuild` says it in text."""
    quantity = cast(events.c.data["quantity"].astext, Integer)
    amount = quantity * cast(events.c.data["unit_price"].astext, Numeric)
    in_order = events.c.position.asc()
    customers = aggregate_order_by(events.c.metadata["customer_id"].astext, in_order)
    types = aggregate_order_by(events.c.type, in_order)
    first_type = func.array_agg(types, type_=ARRAY(Text))[1]
    return (
        select(
            events.c.stream_id,
            func.array_agg(customers, type_=ARRAY(Text))[1],
            func.coalesce(func.sum(quantity).filter(events.c.type == "ItemAdded"), 0),
            func.coalesce(func.sum(amount).filter(events.c.type == "ItemAdded"), 0),
            func.coalesce(func.sum(amount).filter(events.c.type == "ItemReturned"), 0),
            case((first_type.in_(["OrderPlaced", "ItemAdded"]), "placed"), else_="credited"),
        )
        .where(events.c.type.in_(TYPES))
        .group_by(events.c.stream_id)
    )


order_sums = SqlProjection(
    "order-sums",
    table=Table(
        "order_sums",
        MetaData(),
        Column("order_id", Text, primary_key=True),
        Column("customer_id", Text),
        Column("items", Integer, nullable=False),
        Column("total", Numeric(14, 2), nullable=False),
        Column("returned", Numeric(14, 2), nullable=False),
        Column("status", Text, nullable=False),
        Index("order_sums_customer", "customer_id"),
    ),
    select=rows,
    backfill=BackfillPolicy(partitions=2),
)
