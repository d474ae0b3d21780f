"""The read model of the load test: five indexes, one row a stream."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, MetaData, Table, Text

from refold import BackfillPolicy, Event, Projection, Row

loaded = Projection(
    "loaded",
    table=Table(
        "loaded",
        MetaData(),
        Column("id", Text, primary_key=True),
        Column("count", Integer, nullable=False),
        Column("total", Integer, nullable=False),
        Column("last", Integer, nullable=False),
        Column("kind", Text, nullable=False),
        Index("loaded_count", "count"),
        Index("loaded_total", "total"),
        Index("loaded_last", "last"),
        Index("loaded_kind", "kind", "id"),
    ),
    key="stream_id",
    backfill=BackfillPolicy(batch_size=2000, partitions=2, max_concurrency=2),
)


@loaded.on("Happened")
def happened(row: Row | None, event: Event) -> Row:
    before = row or {"count": 0, "total": 0}
    n = event.data["n"]
    return {
        "count": before["count"] + 1,
        "total": before["total"] + n,
        "last": n,
        "kind": f"kind {n % 7}",
    }
