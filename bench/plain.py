"""The read model of the bench of snapshots: no index but its key, so that rows cost little."""

from __future__ import annotations

from sqlalchemy import Column, Integer, MetaData, Table, Text

from refold import BackfillPolicy, Event, Projection, Row

plain = Projection(
    "plain",
    table=Table(
        "plain",
        MetaData(),
        Column("id", Text, primary_key=True),
        Column("count", Integer, nullable=False),
        Column("total", Integer, nullable=False),
        Column("last", Integer, nullable=False),
        Column("kind", Text, nullable=False),
    ),
    key="stream_id",
    backfill=BackfillPolicy(partitions=2, max_concurrency=2),
)


@plain.on("Happened")
def happened(row: Row | None, event: Event) -> Row:
    before = row or {"count": 0, "total": 0}
    n = event.data["n"]
    return {
        "count": before["count"] + 1,
        "total": before["total"] + n,
        "last": n,
        "kind": f"kind {n % 7}",
    }
