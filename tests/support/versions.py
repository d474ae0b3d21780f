"""Versions of the read model ``counters``: one with a bug, one with other columns."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import BigInteger, Column, Index, MetaData, Numeric, Table, Text

from refold import BackfillPolicy, Event, Projection, Row
from tests.support.counters import counters


def doubled(**policy: int) -> Projection:
    """Version 2 with a bug: sums of keys that end in 0 are twice what they should be."""
    right = counters(**policy)
    wrong = Projection("counters", version=2, table=right.table, key="data.key")

    @wrong.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        after = right.handlers["Added"](row, event)
        assert after is not None
        if event.data["key"].endswith("0") and row is None:
            after["sum"] += 1000
        return after

    wrong.on("Removed")(right.handlers["Removed"])
    return wrong


def reshaped() -> Projection:
    """Version 2 with another shape: ``last`` is gone, ``count`` is wider, ``mean`` is new."""
    projection = Projection(
        "counters",
        version=2,
        table=Table(
            "counters",
            MetaData(),
            Column("key", Text, primary_key=True),
            Column("count", BigInteger, nullable=False),
            Column("sum", Numeric(12, 2), nullable=False),
            Column("mean", Numeric(12, 2), nullable=False),
            Index("counters_mean", "mean"),
        ),
        key="data.key",
        backfill=BackfillPolicy(batch_size=10, partitions=2),
    )

    @projection.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        row = row or {"count": 0, "sum": Decimal(0)}
        count, total = row["count"] + 1, row["sum"] + Decimal(event.data["n"]) / 8
        return {"count": count, "sum": total, "mean": total / count}

    @projection.on("Removed")
    def removed(row: Row | None, event: Event) -> None:
        return None

    return projection
