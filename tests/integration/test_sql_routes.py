"""Other ways to the rows of a projection said in SQL: snapshots, poison, other sources, undo."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, cast, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from temporalio.client import Client, WorkflowFailureError

from refold import ConfigurationError, EventSource, Snapshots, SqlProjection
from refold.engine.folding.uncertain import refold_keys
from refold.projection.backfill_policy import BackfillPolicy
from refold.source.port.current import using
from refold.source.port.requirements import require_keys_seen
from refold.store import generations
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.letters import held
from tests.support.live import live, until_position
from tests.support.runs import last, leftovers, rows_of, run, start, until, working, write
from tests.support.selects import assert_selected, removable, selected_rows, summed
from tests.support.snapshots import kept_snapshots, rows_at
from tests.support.soaking import soak
from tests.support.steering import processed, until_status


@pytest.mark.parametrize("merged", [True, *soak(False)])
async def test_snapshots_are_the_select_at_their_position_and_are_restored(
    client: Client, database: Database, merged: bool
) -> None:
    projection = summed(merged=merged, batch_size=30)
    projection.with_snapshots(Snapshots.automatic(every_n_events=40, keep_last=3))
    await write(database.engine, some())
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        async with live(client, database):
            await write(database.engine, some(keys=45, start_at=7))
            await until_position(database, await last(database))
        made = await kept_snapshots(database)
        assert len(made) == 3
        for snapshot in made:
            expected = await selected_rows(database.engine, projection, snapshot.position)
            assert await rows_at(database, projection, snapshot) == expected
        await write(database.engine, some(keys=2, start_at=3))
        await run(client, database, "Rollback", "counters", to_snapshot=made[0].position)
        assert await assert_selected(database.engine, projection)
    assert await leftovers(database.engine) == []


@pytest.mark.soak
async def test_it_is_paused_cancelled_and_undone(client: Client, database: Database) -> None:
    projection = summed(batch_size=3, partitions=2)
    await write(database.engine, some())
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        right = await assert_selected(database.engine, projection)
        slow = {"projection": "counters", "events_per_second": 40}
        handle = await start(client, database, "Rebuild", slow)

        async def begun() -> bool:
            return await processed(database) > 0

        await until(begun)
        await handle.signal("pause")
        await until_status(handle, "paused")
        await handle.signal("resume")
        await handle.execute_update("set_limits", {"events_per_second": 0})
        assert (await handle.result()).status == "completed"
        handle = await start(client, database, "Rebuild", slow)
        await until(begun)
        await handle.signal("cancel")
        assert (await handle.result()).status == "cancelled"
        assert await rows_of(database.engine, projection) == right
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE counters SET sum = 0"))
        spoilt = await rows_of(database.engine, projection)
        await write(database.engine, [("x", "Added", {"key": "k039", "n": "?"})])
        with pytest.raises(WorkflowFailureError):
            await run(
                *(client, database, "Backfill", "counters"),
                criteria="from_event_number",
                from_position=1,
                rollback_on_failure=True,
            )
        assert await rows_of(database.engine, projection) == spoilt
    assert await leftovers(database.engine) == []


_SLOW = """
    CREATE FUNCTION slow(n integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql
    AS 'BEGIN PERFORM pg_sleep(0.1); RETURN n; END'
"""


async def test_a_statement_that_is_under_way_is_given_up(
    client: Client, database: Database
) -> None:
    projection = SqlProjection(
        "slowly",
        table=Table("slowly", MetaData(), Column("id", Text, primary_key=True), Column("n", Text)),
        select=lambda e: select(
            e.c.stream_id, func.max(func.slow(cast(e.c.data["n"].astext, Integer)))
        ).group_by(e.c.stream_id),
    )
    await write(database.engine, some(keys=100, each=6))
    async with database.engine.begin() as connection:
        await connection.execute(text(_SLOW))

    async def is_under_way() -> bool:
        async with database.engine.connect() as connection:
            found = await connection.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND state = 'active' AND query LIKE 'INSERT INTO refold_slowly%'"
                )
            )
        return bool(found)

    async with working(client, database, registry_of(projection)):
        handle = await start(client, database, "Rebuild", {"projection": "slowly"})
        await until(is_under_way)  # for a minute
        await handle.signal("cancel")
        assert (await asyncio.wait_for(handle.result(), 20)).status == "cancelled"
    assert not await is_under_way()
    assert await leftovers(database.engine) == []


async def test_keys_of_which_nobody_knows_are_computed_anew(
    client: Client, database: Database
) -> None:
    projection = removable(batch_size=50)
    await write(database.engine, some(keys=9))
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        await write(database.engine, [*some(keys=3, each=2), ("s", "Removed", {"key": "k008"})])
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
    right = await assert_selected(database.engine, projection)
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE counters SET sum = 1 WHERE key < 'k002'"))
        await connection.execute(text("INSERT INTO counters VALUES ('k008', 1, 1)"))
        active = await generations.active(connection, "counters")
        assert active is not None
        assert await refold_keys(connection, projection, active, 45) == 4
    assert await rows_of(database.engine, projection) == right


async def test_an_event_whose_key_does_not_fit_is_set_aside(
    client: Client, database: Database
) -> None:
    projection = SqlProjection(
        "counters",
        table=Table(
            "counters",
            MetaData(),
            Column("key", Integer, primary_key=True),
            Column("count", Integer, nullable=False),
        ),
        key="data.key",
        select=lambda events: select(events.c.key, func.count()).group_by(events.c.key),
        backfill=BackfillPolicy(on_poison="set_aside", batch_size=2),
    )
    await write(database.engine, [("s", "A", {"key": key}) for key in (1, "two", 3, 1)])
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        assert await held(database) == {None: 2}
        await write(database.engine, [("s", "B", {"key": key}) for key in ("x", 3, None, 4)])
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
    rows = await rows_of(database.engine, projection)
    assert {key: row["count"] for key, row in rows.items()} == {1: 2, 3: 2, 4: 1}
    async with database.engine.connect() as connection:
        count = await connection.scalar(text("SELECT count(*) FROM refold.dead_letters"))
    assert count == 2


async def test_events_in_a_table_of_their_own_with_a_prefix(
    client: Client, database: Database
) -> None:
    table = Table(
        "app_events",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("stream", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("body", Text, nullable=False),
    )
    source = EventSource(
        table,
        position=table.c.id,
        type=table.c.kind,
        data=table.c.body,
        stream_id=table.c.stream,
        type_prefix="Elixir.Shop.",
    )
    async with database.engine.begin() as connection:
        await connection.run_sync(table.create)
        await connection.execute(
            text(
                "INSERT INTO app_events SELECT i, 's' || i % 7, 'Elixir.Shop.' || "
                "CASE WHEN i % 5 = 0 THEN 'Removed' ELSE 'Added' END, "
                "json_build_object('key', 'k' || i % 9, 'n', i)::text FROM generate_series(1, 60) i"
            )
        )
    projection = removable(batch_size=8, partitions=2)
    with using(source):
        async with working(client, database, registry_of(projection)):
            await run(client, database, "Rebuild", "counters")
            async with database.engine.begin() as connection:
                await connection.execute(
                    text(
                        "INSERT INTO app_events VALUES "
                        "(70, 's', 'Elixir.Shop.Added', '{\"key\": \"k1\", \"n\": 5}')"
                    )
                )
            await run(client, database, "Backfill", "counters", criteria="incremental_update")
        position = 70
        rows = await rows_of(database.engine, projection)
        assert rows["k1"]["last"] == 5
        assert rows == await expected_of(database, position)


async def expected_of(database: Database, upto: int) -> dict[Any, Any]:
    """The rows of `removable` in text, by PostgreSQL alone."""
    async with database.engine.connect() as connection:
        found = await connection.execute(
            text(
                """
                WITH e AS (SELECT id, kind, body::jsonb ->> 'key' AS key,
                                  (body::jsonb ->> 'n')::int AS n
                           FROM app_events WHERE id <= :upto)
                SELECT e.key, count(*)::int AS count, round(sum(n) / 8.0, 2) AS sum,
                       (array_agg(n ORDER BY id DESC))[1] AS last
                FROM e LEFT JOIN (SELECT key, max(id) AS at FROM e WHERE kind LIKE '%Removed'
                                  GROUP BY key) r USING (key)
                WHERE kind LIKE '%Added' AND id > coalesce(at, 0) GROUP BY e.key
                """
            ),
            {"upto": upto},
        )
        return {row.key: dict(row._mapping) for row in found}


def test_data_that_only_python_can_read_is_refused() -> None:
    table = Table(
        "app_events", MetaData(), Column("id", Integer), Column("type", Text), Column("data", JSONB)
    )
    source = EventSource(
        table, position=table.c.id, type=table.c.type, data=table.c.data, decode=dict
    )
    by_stream = SqlProjection(
        "counted",
        table=Table("counted", MetaData(), Column("id", Text, primary_key=True), Column("n", Text)),
        select=lambda e: select(e.c.stream_id, func.max(e.c.data["n"].astext)).group_by(
            e.c.stream_id
        ),
    )
    with pytest.raises(ConfigurationError, match="counted: select: expected data that SQL can see"):
        require_keys_seen(source, [by_stream])
