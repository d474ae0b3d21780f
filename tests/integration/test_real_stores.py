"""Libraries append by their own means, and Refold follows: the rows are those of the oracle."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import orjson
import pytest
from sqlalchemy import Column, Table, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from refold import Event
from refold.projection.registry import Registry
from refold.source.checking.check import EventsReport, check_events
from refold.source.port.current import using
from refold.source.reader import read_window
from refold.source.settled.locks import written
from refold.stack.postgres import EmbeddedPostgres
from tests.support.databases import Database, drop_database, make_database
from tests.support.live import live
from tests.support.mapped import different, log_of, registry
from tests.support.real_stores.emmett import EMMETT
from tests.support.real_stores.eventsourcing import COMPRESSED, ENCRYPTED, PLAIN, TEXT_IDS
from tests.support.real_stores.library import Appends, Conflict, Library, Said, made_up
from tests.support.real_stores.message_db import MESSAGE_DB
from tests.support.runs import checkpoint, run, until, working
from tests.support.settling import session
from tests.support.soaking import soak

LIBRARIES = [MESSAGE_DB, EMMETT, PLAIN, COMPRESSED, ENCRYPTED]
REBUILT = [MESSAGE_DB, PLAIN]
STREAMS = [f"{category}-{n}" for category in ("order", "account") for n in range(7)]


# What is encrypted is decoded by the library as what is compressed is.
@pytest.mark.parametrize(
    "library", [*LIBRARIES[:4], *soak(ENCRYPTED)], ids=lambda library: library.name
)
async def test_what_a_library_appends_is_built_and_followed(
    client: Client, database: Database, library: Library
) -> None:
    name = "paths" if library.sees_data else "functions"
    projection = registry().get(name)
    # One by paths and one by functions is rebuilt; the others are built in place, which is less.
    kind = "Rebuild" if library in REBUILT else "Backfill"
    with library.opened(database.url) as appender, using(appender.source) as source:
        appended = made_up(120, seed=1, streams=STREAMS)
        await asyncio.to_thread(appender.append, appended)
        with pytest.raises(Conflict):
            appender.append_too_late(max(appended, key=lambda s: len(appended[s])), _said())

        async def same(events: list[Event]) -> None:
            assert await checkpoint(database.engine, projection) == events[-1].position
            assert await different(database, projection, events) == {}

        async with working(client, database, Registry([projection])):
            await run(client, database, kind, name)
            await same(appender.read())
            async with live(client, database, projection=name):
                more = made_up(60, seed=2, streams=[*STREAMS, "order-new"])
                await asyncio.to_thread(appender.append, more)
                events = appender.read()

                async def reached() -> bool:
                    return await checkpoint(database.engine, projection) == events[-1].position

                await until(reached)
                await same(events)

        assert _counted(events) == _said_of(appended, library) + _said_of(more, library)
        async with database.engine.connect() as connection:
            read = await read_window(
                connection,
                types=["Added", "Removed", "Noted", "Opened"],
                after=source.before,
                upto=2**62,
                limit=1000,
            )
        assert read == events
        report = await _checked(database)
        assert (report.refused, report.head) == ([], events[-1].position)


async def test_categories_of_message_db_overtake_each_other_and_no_message_is_lost(
    client: Client, database: Database
) -> None:
    projection = registry().get("paths")
    with MESSAGE_DB.opened(database.url) as appender, using(appender.source):
        async with (
            working(client, database, Registry([projection])),
            session(database) as early,
        ):
            appender.append({"order-1": [[_said()]]})
            await run(client, database, "Backfill", "paths")
            before = await checkpoint(database.engine, projection)
            async with live(client, database, projection="paths"):
                await early.execute("SET search_path = message_store, public")
                await early.execute("BEGIN")
                await early.execute(
                    "SELECT write_message(gen_random_uuid()::text, 'slow-1', 'Added', $1)",
                    '{"key": "early", "n": 7}',
                )
                appender.append(made_up(20, seed=3, streams=STREAMS))
                for _ in range(5):  # it looks every twentieth of a second
                    await asyncio.sleep(0.1)
                    assert await checkpoint(database.engine, projection) == before
                await early.execute("COMMIT")
                events = appender.read()
                assert [event for event in events if event.stream_id == "slow-1"]

                async def reached() -> bool:
                    return await checkpoint(database.engine, projection) == events[-1].position

                await until(reached)
                assert await different(database, projection, events) == {}


@pytest.mark.parametrize("library", [*LIBRARIES[:3], TEXT_IDS], ids=lambda library: library.name)
async def test_its_tables_are_those_of_its_preset_and_of_other_tests(
    database: Database, template: EmbeddedPostgres, library: Library
) -> None:
    with library.opened(database.url) as appender, using(appender.source):
        [table] = appender.source.tables
        made = await _columns(database, table)
        report = await _checked(database)
        assert (report.refused, len(report.sequences)) == ([], 1)
        await _do(database, *[slow.statement or "" for slow in report.slow])
        assert (await _checked(database)).slow == []
    assert {
        column.name: (_type(column), not column.nullable) for column in table.columns
    }.items() <= {name: told[:2] for name, told in made.items()}.items()
    other = await make_database(template)
    async with log_of(library.shape, other):
        assert (await _columns(other, table)).items() <= made.items()
    await drop_database(template, other)


_COLUMNS = """
    SELECT a.attname, format_type(a.atttypid, NULL), a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
           EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid
                   AND i.indisunique AND i.indkey[0] = a.attnum)
    FROM pg_attribute a
    LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
    WHERE a.attrelid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped
"""


async def _columns(database: Database, table: Table) -> dict[str, tuple[Any, ...]]:
    """Each column's type, whether it is never NULL, its default, whether it leads a unique key."""
    async with database.engine.connect() as connection:
        found = await connection.execute(text(_COLUMNS), {"table": written(table)})
        return {name: (_ALIKE.get(kind, kind), *told) for name, kind, *told in found}


_ALIKE = {"character varying": "text"}
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def _type(column: Column[Any]) -> str:
    return column.type.compile(_DIALECT).lower()


def _said() -> Said:
    return Said("Added", {"key": "late", "n": 1, "t": ""}, {"more": [1]})


def _counted(events: list[Event]) -> Counter[tuple[str, bytes]]:
    return Counter(
        (event.type, _told(event.data, event.metadata))
        for event in events
        if event.type != "Opened"
    )


def _said_of(appends: Appends, library: Library) -> Counter[tuple[str, bytes]]:
    return Counter(
        (said.type, _told(said.data, said.metadata if library.keeps_metadata else {}))
        for all_of_one in appends.values()
        for at_once in all_of_one
        for said in at_once
    )


def _told(data: dict[str, object], metadata: dict[str, object]) -> bytes:
    return orjson.dumps([[data[name] for name in ("key", "n", "t")], sorted(metadata.items())])


async def _checked(database: Database) -> EventsReport:
    async with _autocommit(database).connect() as connection:
        return await check_events(connection)


async def _do(database: Database, *statements: str) -> None:
    async with _autocommit(database).connect() as connection:
        for statement in statements:
            await connection.execute(text(statement))


def _autocommit(database: Database) -> AsyncEngine:
    return database.engine.execution_options(isolation_level="AUTOCOMMIT")
