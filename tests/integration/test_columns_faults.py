"""Rows whose columns came out otherwise by one route than by another, once."""

from __future__ import annotations

import enum
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ARRAY,
    Column,
    Computed,
    Date,
    DateTime,
    Enum,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from temporalio.client import Client

from refold import Event, Projection, Row
from refold.source.files.importer import import_events
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.letters import failed
from tests.support.runs import assert_oracle, leftovers, run, start, working, write


class Status(enum.Enum):
    OPEN = "open"
    CLOSED = "closed"


def _tickets(*columns: Any, name: str = "tickets") -> Projection:
    return Projection(
        name,
        table=Table(name, MetaData(), Column("id", Text, primary_key=True), *columns),
        key="stream_id",
    )


async def _by_every_route(client: Client, database: Database, projection: Projection) -> Any:
    """Rebuilt, followed, repaired in place: each time the fold; the rows as text."""
    kind = next(iter(projection.handlers))
    seen = []
    for kind_of_run in ("Rebuild", "incremental", "Backfill", "Rebuild"):
        await write(database.engine, [(stream, kind, {}) for stream in ("a", "a", "b")])
        fields = {"criteria": "incremental_update"} if kind_of_run == "incremental" else {}
        name = "Backfill" if kind_of_run == "incremental" else kind_of_run
        await run(client, database, name, projection.name, **fields)
        await assert_oracle(database.engine, projection)
        async with database.engine.connect() as connection:
            rows = await connection.execute(text("SELECT t::text FROM tickets t ORDER BY id"))
            seen.append(list(rows.scalars()))
    return seen


async def test_what_once_came_out_otherwise_is_the_same_by_every_route(
    client: Client, database: Database
) -> None:
    """Enumerations, the ends of the calendar, and a document that is left out."""
    forever = datetime.max.replace(tzinfo=UTC)
    projection = _tickets(
        Column("status", Enum(Status, native_enum=False), nullable=False),
        Column("checked", Enum(Status, native_enum=False, create_constraint=True, name="ck")),
        Column("reopened", Integer, nullable=False),
        Column("seen", Text),
        Column("valid_to", Date, nullable=False),
        Column("valid_from", Date, nullable=False),
        Column("until", DateTime(timezone=True), nullable=False),
        Column("since", DateTime, nullable=False),
        Column("dates", ARRAY(Date), nullable=False),
        Column("still", Integer, nullable=False),
        Column("note", JSONB),
        Column("extra", JSONB),
    )
    ends = {
        "valid_to": date.max,
        "valid_from": date.min,
        "until": forever,
        "since": datetime.min,
        "dates": [date.max, None, date.min],
        "extra": None,
    }

    @projection.on("Moved")
    def moved(row: Row | None, event: Event) -> Row:
        if row is None:
            return {"status": Status.OPEN, "checked": "OPEN", "reopened": 0, "still": 0, **ends}
        closed = row["status"] == "CLOSED"
        assert closed is (row["status"] == Status.CLOSED)
        return {
            "status": "OPEN" if closed else Status.CLOSED,
            "checked": row["status"],
            "reopened": row["reopened"] + closed,
            "seen": f"{row['status']!r} {row['status'].value}",
            "still": row["still"] + (row["until"] > event.recorded_at),
            **ends,
        }

    async with working(client, database, registry_of(projection)):
        seen = await _by_every_route(client, database, projection)
    calendar = (
        '9999-12-31,0001-01-01,"9999-12-31 23:59:59.999999+00","0001-01-01 00:00:00",'
        '"{9999-12-31,NULL,0001-01-01}"'
    )
    assert seen[-1] == [
        f"(a,CLOSED,OPEN,3,\"'OPEN' open\",{calendar},7,,)",
        f"(b,CLOSED,OPEN,1,\"'OPEN' open\",{calendar},3,,)",
    ]
    async with database.engine.connect() as connection:
        found = text("SELECT count(*) FROM tickets WHERE valid_to = '9999-12-31'")
        assert await connection.scalar(found) == 2


async def test_a_computed_column_is_postgresqls(client: Client, database: Database) -> None:
    projection = _tickets(
        Column("n", Integer, nullable=False),
        Column("twice", Integer, Computed("n * 2")),
    )

    @projection.on("Counted")
    def counted(row: Row | None, event: Event) -> Row:
        assert row is None or "twice" not in row
        return {"n": (row["n"] if row else 0) + 1}

    async with working(client, database, registry_of(projection)):
        for kind in ("Rebuild", "Backfill", "Rebuild"):
            await write(database.engine, [("a", "Counted", {})])
            await run(client, database, kind, "tickets")
    async with database.engine.connect() as connection:
        rows = (await connection.execute(text("SELECT n, twice FROM tickets"))).all()
    assert rows == [(3, 6)]


async def test_numbers_of_any_length_reach_handlers_as_they_are(
    client: Client, database: Database
) -> None:
    projection = _tickets(
        Column("rate", Numeric, nullable=False), Column("raw", JSONB, nullable=False)
    )

    @projection.on("Rated")
    def rated(row: Row | None, event: Event) -> Row:
        return {"rate": Decimal(event.data["rate"]), "raw": event.data}

    exact = Decimal("0.12345678901234567891")
    data = {"rate": exact, "whole": 2**70 + 1, "near": 0.1, "text": "12345678901234567890.5"}
    async with working(client, database, registry_of(projection)):
        for kind in ("Rebuild", "Backfill"):
            await write(database.engine, [("a", "Rated", data)])
            await run(client, database, kind, "tickets")
            rows = await assert_oracle(database.engine, projection)
            assert rows["a"]["rate"] == exact
            assert rows["a"]["raw"] == data


LACKING: list[tuple[Any, str]] = [
    (
        Enum(Status, name="status"),
        r"type \"status\" does not exist; CREATE TYPE status AS ENUM",
    ),
    (ARRAY(Enum(Status, name="a b")), r"does not exist; CREATE TYPE \"a b\" AS ENUM"),
    (Enum("x", "y", name="mood", schema="public"), r"to have the label\(s\) 'y'"),
    (postgresql.DOMAIN("perc%", Integer()), r"does not exist; CREATE DOMAIN \"perc%\" AS INT"),
    (Numeric(2000, 2), "NUMERIC precision 2000 must be between 1 and 1000"),
    (Text(7), "type modifier is not allowed"),
    (Text(collation="none such"), 'collation "none such"'),
    (String(20_000_000), "length for type"),
]


async def test_a_type_that_the_database_lacks_is_refused_in_the_plan(
    client: Client, database: Database
) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("CREATE TYPE mood AS ENUM ('x')"))
    lacking = {}
    for number, (kind, reason) in enumerate(LACKING):
        projection = _tickets(Column("fine", Integer), Column("c", kind), name=f"tickets{number}")
        projection.on("Moved")(lambda row, event: {})
        lacking[reason] = projection
    await write(database.engine, [("a", "Moved", {})])
    async with working(client, database, registry_of(*lacking.values())):
        for reason, projection in lacking.items():
            name = projection.name
            error = await failed(await start(client, database, "Rebuild", {"projection": name}))
            assert error.type == "InvalidRequest", reason
            assert re.search(rf"'{name}': column 'c': expected .*{reason}", error.message)
    assert await leftovers(database.engine) == []


async def test_an_imported_number_is_kept(database: Database, tmp_path: Path) -> None:
    numbers = "0.12345678901234567891", "99999999999999.999", "0.1", "1e-7"
    data = ", ".join(f'"n{i}": {number}' for i, number in enumerate(numbers))
    file = tmp_path / "events.ndjson"
    file.write_text(f'{{"stream_id": "a", "type": "Rated", "data": {{{data}}}}}\n')
    await import_events(database.engine, file)
    async with database.engine.connect() as connection:
        found = await connection.scalar(text("SELECT data::text FROM refold.events"))
    expected = zip(range(4), [*numbers[:3], "0.0000001"], strict=True)
    assert found == "{" + ", ".join(f'"n{i}": {number}' for i, number in expected) + "}"


async def test_an_event_of_no_time_is_refused(client: Client, database: Database) -> None:
    projection = _tickets(Column("n", Integer))
    projection.on("Moved")(lambda row, event: {})
    await write(database.engine, [("a", "Moved", {}), ("b", "Moved", {})])
    async with database.engine.begin() as connection:
        await connection.execute(
            text("UPDATE refold.events SET recorded_at = 'infinity' WHERE position = 2")
        )
    async with working(client, database, registry_of(projection)):
        error = await failed(await start(client, database, "Rebuild", {"projection": "tickets"}))
    assert error.type == "UnreadableEvent"
    assert "event 2: expected a recorded_at from the year 1 to 9999" in error.message
