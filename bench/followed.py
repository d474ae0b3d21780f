"""The read models of the bench of following: the same rows, without and with more indexes."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, MetaData, Table, Text

from refold import BackfillPolicy, Event, Projection, Row


def _projection(name: str, *indexes: Index) -> Projection:
    return Projection(
        name,
        table=Table(
            name,
            MetaData(),
            Column("id", Text, primary_key=True),
            Column("count", Integer, nullable=False),
            Column("total", Integer, nullable=False),
            Column("last", Integer, nullable=False),
            Column("kind", Text, nullable=False),
            *indexes,
        ),
        key="stream_id",
        backfill=BackfillPolicy(partitions=2, max_concurrency=2),
    )


keyed = _projection("keyed")
indexed = _projection(
    "indexed",
    Index("indexed_count", "count"),
    Index("indexed_total", "total"),
    Index("indexed_last", "last"),
    Index("indexed_kind", "kind", "id"),
)


@keyed.on("Happened")
@indexed.on("Happened")
def happened(row: Row | None, event: Event) -> Row:
    before = row or {"count": 0, "total": 0}
    n = event.data["n"]
    return {
        "count": before["count"] + 1,
        "total": before["total"] + n,
        "last": n,
        "kind": f"kind {n % 7}",
    }
