"""A read model that builds itself, for worker processes: REFOLD_PROJECTIONS names this module."""

from __future__ import annotations

from sqlalchemy import Column, Integer, MetaData, Table, Text

from refold import Event, Projection, Row, backfill_from_beginning


def eager(name: str = "eager", version: int = 1, *, broken: bool = False) -> Projection:
    """Counts events by key, and builds itself; or fails at the first event."""
    made = Projection(
        name,
        version=version,
        table=Table(
            name,
            MetaData(),
            Column("key", Text, primary_key=True),
            Column("count", Integer, nullable=False),
        ),
        key="data.key",
        backfill=backfill_from_beginning(partitions=2),
    )

    @made.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        if broken:
            raise ValueError("not yet written")
        return {"count": version + (row["count"] if row else 0)}

    return made


projection = eager()
