"""The read models of logs, keys and rows that are larger than memory."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text

from refold import BackfillPolicy, Event, Projection, Row

WIDTH = 99
"""Columns of a wide row beside its key."""

_metadata = MetaData()


def _tally(name: str, **policy: Any) -> Projection:
    made = Projection(
        name,
        table=Table(
            name,
            _metadata,
            Column("id", Text, primary_key=True),
            Column("count", Integer, nullable=False),
            Column("total", BigInteger, nullable=False),
            Column("last", BigInteger, nullable=False),
        ),
        key="stream_id",
        backfill=BackfillPolicy(**policy),
    )

    @made.on("Counted")
    def counted(row: Row | None, event: Event) -> Row:
        n, before = event.data["n"], row or {"count": 0, "total": 0}
        return {"count": before["count"] + 1, "total": before["total"] + n, "last": event.position}

    return made


one = _tally("one")
sparse = _tally("sparse", max_concurrency=8, partitions=64)

wide = Projection(
    "wide",
    table=Table(
        "wide",
        _metadata,
        Column("id", Text, primary_key=True),
        *[Column(f"c{n:02}", BigInteger, nullable=False, default=0) for n in range(WIDTH)],
    ),
    key="stream_id",
)


@wide.on("Counted")
def spread(row: Row | None, event: Event) -> Row:
    """Adds to one column of all."""
    n = event.data["n"]
    name = f"c{n % WIDTH:02}"
    return {**(row or {}), name: (row[name] if row else 0) + n}


def _bodies(name: str) -> Table:
    return Table(
        name, _metadata, Column("id", Text, primary_key=True), Column("body", Text, nullable=False)
    )


collected = Projection("collected", table=_bodies("collected"), key="stream_id")


@collected.on("Part")
def part(row: Row | None, event: Event) -> Row:
    """Rows of 1 MB, of events of 100 kB."""
    return {"body": (row["body"] if row else "") + event.data["part"]}


grown = Projection("grown", table=_bodies("grown"), key="stream_id")


@grown.on("Counted")
def grows(row: Row | None, event: Event) -> Row:
    """Rows of 1 MB, of events that have nothing in them."""
    return {"body": f"{event.data['n']:08}" * 131_072}
