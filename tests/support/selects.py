"""Read models said in SQL, and their oracle: the select itself, run once over all events."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
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
    literal,
    select,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from refold import BackfillPolicy, Row
from refold.engine.sql.select_fold import SelectFold
from refold.projection.key import Key
from refold.projection.sql.declaration import SqlProjection
from refold.source.port.current import events as all_events
from refold.source.sql.spans import with_literals
from tests.support.runs import checkpoint, rows_of

TYPES = ("Added", "Removed")


def table_of(name: str) -> Table:
    return Table(
        name,
        MetaData(),
        Column("key", Text, primary_key=True),
        Column("count", Integer, nullable=False),
        Column("sum", Numeric(12, 2), nullable=False),
        Column("last", Integer),
        Index(f"{name}_sum", "sum"),
    )


def sums(events: Any) -> Select[Any]:
    """The read model `counters`, but for `Removed`, which begins nothing anew."""
    n = cast(events.c.data["n"].astext, Integer)
    return (
        select(
            events.c.data["key"].astext,
            func.count(),
            func.sum(n) / literal(8.0, Numeric),
            func.max(n),
        )
        .where(events.c.type == "Added")
        .group_by(events.c.data["key"].astext)
    )


def exact(events: Any) -> Select[Any]:
    """As `sums`, with a sum that no column rounds: its parts can be added."""
    n = cast(events.c.data["n"].astext, Integer)
    return (
        select(events.c.key, func.count(), func.sum(n), func.max(n))
        .where(events.c.type == "Added")
        .group_by(events.c.key)
    )


def since_removed(events: Any) -> Select[Any]:
    """As `counters`: a window and a join find what has happened since the last `Removed`."""
    n = cast(events.c.data["n"].astext, Integer)
    removed = (
        select(events.c.key, func.max(events.c.position).label("at"))
        .where(events.c.type == "Removed")
        .group_by(events.c.key)
        .subquery()
    )
    place = func.row_number().over(partition_by=events.c.key, order_by=events.c.position.desc())
    left = (
        select(events.c.key, n.label("n"), place.label("place"))
        .select_from(events.outerjoin(removed, removed.c.key == events.c.key))
        .where(
            events.c.type == "Added",
            events.c.position > func.coalesce(removed.c.at, 0),
        )
        .subquery()
    )
    return select(
        func.max(case((left.c.place == 1, left.c.n))).label("last"),
        func.round(func.sum(left.c.n) / literal(8.0, Numeric), 2).label("sum"),
        func.count().label("count"),
        left.c.key.label("key"),
    ).group_by(left.c.key)


def summed(*, merged: bool = False, name: str = "counters", **policy: Any) -> SqlProjection:
    """A projection of `sums`; merged: of `exact`, which can be."""
    return SqlProjection(
        name,
        table=table_of(name),
        select=exact if merged else sums,
        key="data.key",
        merge={"count": "sum", "sum": "sum", "last": "max"} if merged else None,
        backfill=BackfillPolicy(**policy),
    )


def removable(name: str = "counters", **policy: Any) -> SqlProjection:
    """A projection of `since_removed`."""
    return SqlProjection(
        name,
        table=table_of(name),
        select=since_removed,
        key="data.key",
        types=TYPES,
        backfill=BackfillPolicy(**policy),
    )


async def selected_rows(
    engine: AsyncEngine, projection: SqlProjection, upto: int
) -> dict[Key, Row]:
    """The rows that the projection's select makes of all events up to a position, in one go."""
    fold = SelectFold(projection)
    relation = select(all_events()).where(all_events().c.position <= upto)
    assert projection.key_paths is not None
    key = [path.sql(all_events()).label("key") for path in projection.key_paths]
    said, places = projection.select(relation.add_columns(*key).subquery("events"))
    columns = list(with_literals(said, set()).subquery("made").c)
    names = list(fold.table.columns.keys())
    made = select(*[columns[at].label(name) for at, name in zip(places, names, strict=True)])
    async with engine.connect() as connection:
        found = (await connection.execute(fold.typed(made))).all()
    rows = [fold.row_of(record) for record in found]
    return {fold.key_of(row): row for row in rows if fold.key_of(row) is not None}


async def assert_selected(engine: AsyncEngine, projection: SqlProjection) -> dict[Key, Row]:
    """Checks row by row that the live table is what the select makes, up to its checkpoint."""
    expected = await selected_rows(engine, projection, await checkpoint(engine, projection))
    actual = await rows_of(engine, projection)
    different = {
        key: (expected.get(key), actual.get(key))
        for key in expected.keys() | actual.keys()
        if expected.get(key) != actual.get(key)
    }
    assert not different, f"{len(different)} rows differ: {dict(list(different.items())[:3])}"
    return actual
