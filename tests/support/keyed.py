"""Read models whose key is a function: several keys an event, none, of several columns, poison."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import BigInteger, Boolean, Column, Date, Integer, MetaData, Table, Text, Uuid, text

from refold import BackfillPolicy, Event, Projection, Row
from tests.support.databases import Database

SPACE = UUID("b3f0b4f4-0000-4000-8000-000000000015")
DAY = date(2026, 1, 1).toordinal()


def of_text(event: Event) -> Any:
    """Two keys, one, or none; `Broken` keys are poison."""
    _may_die()
    key, n = str(event.data["key"]), event.data["n"]
    if event.data.get("broken"):
        raise ValueError("no key")
    if n % 7 == 0:
        return None
    return [key, f"half {n % 2}"] if n % 3 == 0 else key


def of_pair(event: Event) -> Any:
    """A date and whether the number is even: a composite key of types that are no text."""
    _may_die()
    return date.fromordinal(DAY + len(event.data["key"])), event.data["n"] % 2 == 0


def of_parts(event: Event) -> Any:
    """A text and a number, sometimes twice."""
    _may_die()
    key = str(event.data["key"])
    pair = (key, event.data["n"] % 3)
    return [pair, ("all", 0)] if event.data["n"] % 5 == 0 else pair


def of_id(event: Event) -> Any:
    """A UUID."""
    _may_die()
    return uuid5(SPACE, str(event.data["key"]))


COLUMNS: dict[Callable[[Event], Any], list[Column[Any]]] = {
    of_text: [Column("key", Text(collation="C"), primary_key=True)],
    of_pair: [Column("day", Date, primary_key=True), Column("even", Boolean, primary_key=True)],
    of_parts: [
        Column("key", Text, primary_key=True),
        Column("n", BigInteger, primary_key=True, autoincrement=False),
    ],
    of_id: [Column("id", Uuid, primary_key=True)],
}
KEYS = list(COLUMNS)


def keyed(key: Callable[[Event], Any] = of_text, **policy: Any) -> Projection:
    """Counts and sums by a key that is a function; `Removed` deletes the row."""
    columns: list[Column[Any]] = [
        Column(c.name, c.type, primary_key=True, autoincrement=False) for c in COLUMNS[key]
    ]
    table = Table(
        "keyed",
        MetaData(),
        *columns,
        Column("count", Integer, nullable=False),
        Column("sum", Integer, nullable=False),
    )
    projection = Projection("keyed", table=table, key=key, backfill=BackfillPolicy(**policy))

    @projection.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        _may_die()
        row = row or {"count": 0, "sum": 0}
        return {"count": row["count"] + 1, "sum": 3 * row["sum"] % 1000 + event.data["n"]}

    @projection.on("Removed")
    def removed(row: Row | None, event: Event) -> None:
        return None

    return projection


async def lose_keys(database: Database) -> None:
    """What a crash of PostgreSQL does to side tables: they are unlogged, so it empties them."""
    async with database.engine.begin() as connection:
        found = await connection.scalars(
            text("SELECT tablename FROM pg_tables WHERE tablename ~ '^(keys|key_slices)_'")
        )
        names = ", ".join(f'refold."{name}"' for name in found)
        await connection.execute(text(f"LOCK {names}"))
        # No session survives a crash: none has looked before it and reads after it.
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        ended = text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        await connection.execute(ended)
        await connection.execute(text(f"TRUNCATE {names}"))


_file = Path(os.environ["DEATH_FILE"]) if "DEATH_FILE" in os.environ else None
_calls = itertools.count(1)


def _may_die() -> None:
    """Kills the process at the call that DEATH_FILE says, of key functions and handlers, once."""
    if _file is None or not _file.exists():
        return
    if next(_calls) >= int(_file.read_text()):
        _file.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


projection = keyed(
    KEYS[int(os.environ.get("KEY", "0"))],
    partitions=int(os.environ.get("PARTITIONS", "3")),
)
"""For worker processes: REFOLD_PROJECTIONS names this module."""
