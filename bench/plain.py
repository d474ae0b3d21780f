"""Read models of benches: no index but the key, so that rows cost little, or those given."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, MetaData, Table, Text

from refold import BackfillPolicy, Event, Projection, Row


def counted(name: str, *indexes: Index) -> Projection:
    """A read model of that name that counts and adds what has happened, by streams."""
    projection = Projection(
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
    projection.on("Happened")(_happened)
    return projection


def _happened(row: Row | None, event: Event) -> Row:
    before = row or {"count": 0, "total": 0}
    n = event.data["n"]
    return {
        "count": before["count"] + 1,
        "total": before["total"] + n,
        "last": n,
        "kind": f"kind {n % 7}",
    }


plain = counted("plain")
