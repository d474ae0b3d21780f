"""A small read model for tests that want control: counts and sums, with every kind of ending."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import Column, Index, Integer, MetaData, Numeric, Table, Text

from refold import BackfillPolicy, Event, Projection, Row
from refold.projection.registry import Registry


def counters(**policy: Any) -> Projection:
    """A projection ``counters``, keyed by ``data.key``; `Removed` deletes, `Broken` raises."""
    projection = Projection(
        "counters",
        table=Table(
            "counters",
            MetaData(),
            Column("key", Text, primary_key=True),
            Column("count", Integer, nullable=False),
            Column("sum", Numeric(12, 2), nullable=False),
            Column("last", Integer),
            Index("counters_sum", "sum"),
        ),
        key="data.key",
        backfill=BackfillPolicy(**policy),
    )

    @projection.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        row = row or {"count": 0, "sum": Decimal(0)}
        # Three decimals into a column of two: rounding must not depend on the batches.
        amount = Decimal(event.data["n"]) / 8
        return {
            "count": row["count"] + 1,
            "sum": row["sum"] + amount,
            "last": event.data["n"],
        }

    @projection.on("Removed")
    def removed(row: Row | None, event: Event) -> None:
        return None

    @projection.on("Broken")
    def broken(row: Row | None, event: Event) -> Row:
        raise ValueError("this event cannot be taken")

    return projection


def siblings() -> list[Projection]:
    """Two more read models of the same events: by stream, and by a function of several keys."""
    right = counters(batch_size=20)
    made = []
    for name, key in (("streams", "stream_id"), ("halves", _halves)):
        columns: list[Column[Any]] = [
            Column(c.name, c.type, primary_key=c.primary_key, nullable=c.nullable)
            for c in right.table.columns
        ]
        table = Table(name, MetaData(), *columns)
        sibling = Projection(name, table=table, key=key, backfill=BackfillPolicy(batch_size=30))
        for event_type, handler in right.handlers.items():
            sibling.on(event_type)(handler)
        made.append(sibling)
    return made


def _halves(event: Event) -> list[str]:
    key = str(event.data["key"])
    return [key, "even" if key[-1] in "02468" else "odd"]


def registry_of(*projections: Projection) -> Registry:
    return Registry(projections)
