"""Events in other tables than Refold's own: shapes of tables, and read models of their events."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import orjson
import pytest
from sqlalchemy import Column, DateTime, Integer, MetaData, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from refold import Event, Projection, Row
from refold.projection.key import Key
from refold.projection.registry import Registry
from refold.source.port.event_source import EventSource
from tests.support.databases import Database
from tests.support.runs import checkpoint, rows_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Shape:
    """A table of events that is not Refold's own.

    Attributes:
        name: For the test's name.
        ddl: What makes it; or the file among the given ones that does.
        source: What makes the `EventSource`.
        insert: Writes events; their positions are the shape's own.
        keeps: What an event is once it is read: shapes do not keep all.
        positions: How positions grow, from the first.
        drawn: Selects the positions, when the database draws them instead.
        sees_data: Whether SQL can see into the data.
    """

    name: str
    ddl: str
    source: Callable[[], EventSource]
    insert: Callable[[asyncpg.Connection[Any], Sequence[Event]], Awaitable[None]]
    keeps: Callable[[Event], Event] = lambda event: event
    positions: Callable[[int], int] = lambda number: number + 1
    drawn: str | None = None
    sees_data: bool = True


def made(shape: Shape, count: int, *, seed: int = 0, start: int = 0) -> list[Event]:
    """Events as an application has them, from the `start`-th on."""
    chance = Random(seed)
    versions: dict[str, int] = {}
    found = []
    for number in range(start + count):
        n = chance.randrange(12)
        stream = str(uuid.UUID(int=n + 101))
        versions[stream] = versions.get(stream, 0) + 1
        event = Event(
            shape.positions(number),
            stream,
            versions[stream],
            "Removed" if chance.random() < 0.05 else "Added" if chance.random() < 0.9 else "Noted",
            {"key": f"k{chance.randrange(20):02}", "n": chance.randrange(-99, 99), "t": "ü'\\\""},
            {"tenant": f"t{n % 3}", "more": [n]},
            NOON + timedelta(minutes=number),
        )
        found.append(event)
    return found[start:]


def tallies() -> list[Projection]:
    """Read models that show all fields of events: by a path, by the stream, by a function."""
    made: list[Projection] = []
    for name, key, kind in (
        ("paths", "data.key", Text()),
        ("streams", "stream_id", Uuid()),
        ("texts", "stream_id", Text(collation="C")),
        (
            "functions",
            lambda event: f"{event.data['key']}/{event.metadata.get('tenant')}",
            Text(),
        ),
    ):
        projection = Projection(name, table=_table(name, kind), key=key)
        projection.on("Added", "Noted")(_added)
        projection.on("Removed")(_removed)
        made.append(projection)
    return made


def _table(name: str, kind: Any) -> Table:
    return Table(
        name,
        MetaData(),
        Column("id", kind, primary_key=True),
        Column("count", Integer, nullable=False),
        Column("sum", Integer, nullable=False),
        Column("stream", Text),
        Column("version", Integer),
        Column("type", Text),
        Column("data", JSONB),
        Column("metadata", JSONB),
        Column("at", DateTime(timezone=True)),
    )


def _added(row: Row | None, event: Event) -> Row:
    before = row or {"count": 0, "sum": 0}
    return {
        "count": before["count"] + 1,
        "sum": before["sum"] + event.data["n"],
        "stream": event.stream_id,
        "version": event.version,
        "type": event.type,
        "data": event.data,
        "metadata": event.metadata,
        "at": event.recorded_at,
    }


def _removed(row: Row | None, event: Event) -> None:
    return None


@dataclass
class Log:
    """What an application has written, beside the database that it wrote it to."""

    shape: Shape
    database: Database
    events: list[Event] = field(default_factory=list)
    made: int = 0

    async def append(self, count: int, *, seed: int = 0) -> None:
        """Appends the next events."""
        new = made(self.shape, count, seed=seed, start=self.made)
        await self.insert(new)
        self.made += count

    async def insert(self, new: list[Event]) -> None:
        """Appends these events."""
        async with _driver(self.database) as driver, driver.transaction():
            await self.shape.insert(driver, new)
            if self.shape.drawn is not None:
                last = await driver.fetch(f"{self.shape.drawn} ORDER BY 1 DESC LIMIT {len(new)}")
                drawn = sorted(record[0] for record in last)
                new = [e._replace(position=n) for e, n in zip(new, drawn, strict=True)]
        self.events += [self.shape.keeps(event) for event in new]

    async def execute(self, statement: str, *arguments: Any) -> None:
        """Runs a statement."""
        async with _driver(self.database) as driver:
            await driver.execute(statement, *arguments)

    async def change(self, statement: str) -> None:
        """Runs a statement on the read models."""
        async with self.database.engine.begin() as connection:
            await connection.exec_driver_sql(statement)

    async def different(self, projection: Projection) -> dict[Key, Any]:
        """The keys whose row is not the fold of the events up to the checkpoint; both rows."""
        return await different(self.database, projection, self.events)


async def different(
    database: Database, projection: Projection, events: Sequence[Event]
) -> dict[Key, Any]:
    """The keys whose row is not the fold of the events up to the checkpoint; both rows."""
    position = await checkpoint(database.engine, projection)
    read = [e for e in events if e.position <= position and e.type in projection.handlers]
    expected = projection.fold(read)
    actual = await rows_of(database.engine, projection)
    return {
        key: (expected.get(key), actual.get(key))
        for key in expected.keys() | actual.keys()
        if expected.get(key) != actual.get(key)
    }


@asynccontextmanager
async def log_of(shape: Shape, database: Database) -> AsyncIterator[Log]:
    """A log of a shape, in a database."""
    log = Log(shape, database)
    await log.execute(given(ddl_of(shape)))
    yield log


def ddl_of(shape: Shape) -> str | None:
    """What makes a shape's tables; None when its file is not here."""
    if not shape.ddl.endswith(".sql"):
        return shape.ddl
    file = Path(__file__).parents[3] / "shared/reference/event-stores" / shape.ddl
    return file.read_text() if file.exists() else None


def given(ddl: str | None) -> str:
    """What makes tables; the test is skipped when its file is not here."""
    if ddl is None:
        pytest.skip("the tables of this event store are not here")
    return ddl


@asynccontextmanager
async def _driver(database: Database) -> AsyncIterator[asyncpg.Connection[Any]]:
    driver = await asyncpg.connect(database.log_url)
    try:
        yield driver
    finally:
        await driver.close()


def registry() -> Registry:
    """The read models of `tallies`."""
    return Registry(tallies())


def json(value: Any) -> str:
    """A value as JSON."""
    return orjson.dumps(value).decode()
