"""`refold events check`: what is found, what is slow, what is refused; and workers look, too."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from refold import ConfigurationError, Locks, stores
from refold.source.checking.check import EventsReport, check_events, require_readable
from refold.source.port.current import OWN, using
from refold.source.port.event_source import EventSource
from refold.worker.readiness import wait_until_ready
from tests.support.commands import forked
from tests.support.databases import Database
from tests.support.mapped import log_of
from tests.support.odd_shape import ODD
from tests.support.store_shapes import AXON_4, EMMETT, MARTEN, MESSAGE_DB, PLAIN


async def looked(database: Database, source: EventSource) -> EventsReport:
    looking = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with looking.connect() as connection:
        with using(source):
            return await check_events(connection)


async def execute(engine: AsyncEngine, *statements: str) -> None:
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def test_refolds_own_table_has_all_that_it_needs(database: Database) -> None:
    await execute(database.engine, "ANALYZE refold.events")
    report = await looked(database, OWN)
    assert (report.slow, report.mind, report.refused) == ([], [], [])
    assert report.sequences == ["refold.events_position_seq: cache 1, increment 1"]
    assert (report.head, report.events, report.writing) == (0, [], [])


async def test_what_is_found_is_told(database: Database) -> None:
    async with log_of(MESSAGE_DB, database) as log:
        await log.append(5)
    report = await looked(database, stores.message_db())
    [table] = report.tables
    assert table.startswith("message_store.messages: table, not counted; may write: postgres")
    assert report.columns == {
        "position": "bigint",
        "stream_id": "text",
        "version": "bigint",
        "type": "text",
        "data": "jsonb",
        "metadata": "jsonb",
        "recorded_at": "timestamp with time zone",
    }
    assert report.events[0]["data"] == ["key", "n", "t"]
    assert report.head == log.events[-1].position
    assert {slow.statement for slow in report.slow} == {
        "ANALYZE message_store.messages",
        "CREATE INDEX ON message_store.messages ((time AT TIME ZONE 'UTC'))",
    }
    assert report.refused == []
    # What is proposed mends it.
    await execute(database.engine, *[slow.statement or "" for slow in report.slow])
    assert (await looked(database, stores.message_db())).slow == []


async def test_a_missing_index_on_the_position_is_slow(database: Database) -> None:
    async with log_of(EMMETT, database) as log:
        await log.append(5)
    report = await looked(database, stores.emmett())
    [slow] = [one for one in report.slow if "positions" in one.what]
    assert slow.statement == "CREATE INDEX ON public.emt_messages (global_position)"
    assert report.refused == []
    await execute(database.engine, slow.statement)
    again = await looked(database, stores.emmett())
    assert [one for one in again.slow if "positions" in one.what] == []
    assert "2 partitions" in report.tables[0]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ("ALTER SEQUENCE app_events_id_seq CACHE 20", "has CACHE 20.*ALTER SEQUENCE"),
        ("ALTER TABLE app_events RENAME payload TO body", "payload does not exist"),
        ("ALTER TABLE app_events RENAME TO others", "there is no table public.app_events"),
        (
            "ALTER TABLE app_events DROP CONSTRAINT app_events_pkey; "
            "INSERT INTO app_events OVERRIDING SYSTEM VALUE SELECT * FROM app_events",
            "is that of several events",
        ),
        (
            "ALTER TABLE app_events RENAME TO others; "
            "CREATE MATERIALIZED VIEW app_events AS SELECT * FROM others",
            "is a materialized view",
        ),
        (
            "UPDATE app_events SET id = DEFAULT; INSERT INTO app_events OVERRIDING SYSTEM VALUE "
            "SELECT -1, type, payload, account, created_at FROM app_events LIMIT 1",
            "position -1: expected 0 or more",
        ),
    ],
)
async def test_what_cannot_be_read_is_refused_and_no_worker_starts(
    database: Database, changed: str, why: str
) -> None:
    async with log_of(PLAIN, database) as log:
        await log.append(3)
    await execute(database.engine, *changed.split("; "))
    refused = pytest.raises(ConfigurationError, match=f"^REFOLD_EVENTS: .*{why}")
    with using(PLAIN.source()), refused:
        await wait_until_ready(database.engine)


async def test_a_sequence_that_is_not_there_is_refused(database: Database) -> None:
    async with log_of(MARTEN, database):
        pass
    source = stores.marten(schema="marten")
    assert (await looked(database, source)).sequences == [
        "marten.mt_events_sequence: cache 1, increment 1"
    ]
    source.settled = Locks(sequences=["marten.other"])
    report = await looked(database, source)
    assert report.refused == ["there is no sequence marten.other: Locks names it"]


async def test_gaps_that_are_waited_for_are_told(database: Database) -> None:
    async with log_of(AXON_4, database) as log:
        await log.append(3)
    source = stores.axon("4-jpa", schema="axon")
    report = await looked(database, source)
    # The given rows are at 1 and 51.
    assert (report.settles, report.head, report.refused) == ("Patience", 1, [])
    [awaited] = report.writing
    assert awaited.startswith("nobody yet at positions 2 to 50, awaited for ")
    [told] = [line for line in report.mind if line.startswith("gaps")]
    assert "waited for 10 s, and looked at again for 86400 s: 0 gaps of 0 positions now" in told
    await execute(database.engine, "DROP TABLE refold.passed_gaps")
    report = await looked(database, source)
    assert report.head is None
    assert "after `refold migrate`" in report.mind[0]


async def test_a_source_that_is_fit_is_taken(database: Database) -> None:
    async with log_of(ODD, database) as log:
        await log.append(3)
    looking = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with looking.connect() as connection:
        with using(ODD.source()):
            await require_readable(connection)
            report = await check_events(connection)
    assert [line for line in report.mind if "no sequence was found" in line]
    assert [line for line in report.mind if "event 1: its data cannot be read" in line] == []


async def test_the_command_exits_with_1_when_something_is_refused(database: Database) -> None:
    variables = {
        "REFOLD_DATABASE_URL": database.url,
        "REFOLD_EVENTS": "refold.source.stores:message_db",
    }
    await command(variables, 1, "refused: there is no table message_store.messages")
    async with log_of(MESSAGE_DB, database) as log:
        await log.append(2)
    await command(variables, 0, "it can be read")


async def command(variables: dict[str, str], status: int, expected: str) -> None:
    done = await asyncio.to_thread(forked, "events", "check", variables=variables)
    assert (done.status, expected in done.out) == (status, True), done.out
