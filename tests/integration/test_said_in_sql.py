"""Projections said in SQL on real servers: rows equal the select over all events, by any route."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, cast, func, select, text
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from refold import InvalidProjection
from refold.messages.run.preview import Preview
from refold.projection.sql.declaration import SqlProjection
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import live, until_position
from tests.support.runs import last, leftovers, rows_of, run, start, working, write
from tests.support.selects import assert_selected, removable, summed
from tests.support.soaking import soak


async def test_rebuild_is_the_select(client: Client, database: Database) -> None:
    projections = [
        summed(batch_size=7, partitions=3),
        removable("windows", batch_size=7, partitions=2),
    ]
    await write(database.engine, some())
    await write(database.engine, [("s1", "Removed", {"key": "k001"}), *some(start_at=50)])
    async with working(client, database, registry_of(*projections)):
        for projection in projections:
            result = await run(client, database, "Rebuild", projection.name)
            assert (result.status, result.generation) == ("completed", 1)
            assert await assert_selected(database.engine, projection)
        await _an_expression_that_fails_names_the_key(client, database, projections[0], "Rebuild")


async def test_backfill_in_place_heals_what_was_corrupted(
    client: Client, database: Database
) -> None:
    projection = removable(batch_size=25, partitions=3)
    await write(database.engine, some())
    await write(database.engine, [("s1", "Removed", {"key": "k001"})])
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Backfill", "counters")
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE counters SET sum = 0 WHERE key < 'k010'"))
            await connection.execute(text("DELETE FROM counters WHERE key > 'k030'"))
            await connection.execute(
                text("INSERT INTO counters VALUES ('a', 1, 1), ('k001', 1, 1), ('z', 1, 1)")
            )
        handle = await start(
            client, database, "Backfill", {"projection": "counters", "dry_run": True}
        )
        await handle.result()
        foretold = Preview.model_validate(await handle.query("plan")).foretold
        assert foretold is not None
        assert (foretold.added, foretold.changed, foretold.removed) == (9, 10 - 1, 3)
        result = await run(client, database, "Backfill", "counters", criteria="full_rebuild")
        assert (result.generation, result.events_processed) == (1, 201)
        rows = await assert_selected(database.engine, projection)
        assert "k001" not in rows
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE counters SET sum = 0"))
        await run(
            *(client, database, "Backfill", "counters"),
            criteria="event_number_range",
            from_position=1,
            to_position=4,
        )
        sums = {
            key: row["sum"] for key, row in (await rows_of(database.engine, projection)).items()
        }
        assert {key for key, value in sums.items() if value} == {"k000", "k002", "k003"}
        await run(
            *(client, database, "Backfill", "counters"),
            criteria="custom_predicate",
            predicate='event.data.key > "k003"',
            is_atomic=True,
        )
    await assert_selected(database.engine, projection)
    assert await leftovers(database.engine) == []


@pytest.mark.parametrize("merged", [True, *soak(False)])
async def test_live_follows_and_rolls_back(
    client: Client, database: Database, merged: bool
) -> None:
    projection = summed(merged=merged, batch_size=20)
    await write(database.engine, some())
    async with (
        working(client, database, registry_of(projection)),
        live(client, database) as handle,
    ):
        await run(client, database, "Rebuild", "counters")
        for start_at in (3, 5):
            await write(database.engine, some(keys=45, start_at=start_at))
            await until_position(database, await last(database))
            assert len(await assert_selected(database.engine, projection)) == 45
        await run(client, database, "Rebuild", "counters")
        await write(database.engine, some(keys=3, start_at=9))
        await run(client, database, "Rollback", "counters")
        await until_position(database, await last(database))
        await assert_selected(database.engine, projection)
        await handle.signal("stop")


@pytest.mark.soak
async def test_an_expression_that_fails_names_the_key_in_place(
    client: Client, database: Database
) -> None:
    projection = summed(batch_size=50, partitions=2)
    await write(database.engine, some())
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        await _an_expression_that_fails_names_the_key(client, database, projection, "Backfill")


async def _an_expression_that_fails_names_the_key(
    client: Client, database: Database, projection: SqlProjection, kind: str
) -> None:
    before = await rows_of(database.engine, projection)
    await write(database.engine, [("bad", "Added", {"key": "k017", "n": "many"})])
    failure = await _failure(client, database, kind, "counters", criteria="full_rebuild")
    assert failure.type == "RowRejected"
    assert "'counters'" in failure.message
    assert "'k017'" in failure.message
    assert "many" not in failure.message
    assert await rows_of(database.engine, projection) == before
    assert await leftovers(database.engine) == []


@pytest.mark.soak
async def test_a_row_that_is_refused_names_the_key(client: Client, database: Database) -> None:
    projection = SqlProjection(
        "counters",
        table=Table(
            "counters",
            MetaData(),
            Column("key", Text, primary_key=True),
            Column("most", Integer, nullable=False),
        ),
        select=lambda events: select(
            events.c.stream_id, func.max(cast(events.c.data["n"].astext, Integer))
        ).group_by(events.c.stream_id),
    )
    await write(database.engine, some())
    await write(database.engine, [("s99", "Other", {})])
    async with working(client, database, registry_of(projection)):
        failure = await _failure(client, database, "Rebuild", "counters")
        assert failure.type == "RowRejected"
        assert "'s99'" in failure.message
        assert "not-null" in failure.message
        await write(database.engine, [("s99", "Added", {"n": 4})])
        await run(client, database, "Rebuild", "counters")
        await write(database.engine, [("s98", "Other", {})])
        failure = await _failure(
            client, database, "Backfill", "counters", criteria="incremental_update"
        )
        assert failure.type == "RowRejected"
        assert "'s98'" in failure.message
    assert len(await rows_of(database.engine, projection)) == 41


async def _failure(
    client: Client, database: Database, kind: str, projection: str, **fields: Any
) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as failed:
        await run(client, database, kind, projection, **fields)
    assert isinstance(failed.value.cause, ApplicationError)
    return failed.value.cause


async def test_what_postgresql_refuses_is_said_before_any_work(
    client: Client, database: Database
) -> None:
    def wrong_type(events: Any) -> Any:
        return select(events.c.stream_id, func.max(events.c.type)).group_by(events.c.stream_id)

    def volatile(events: Any) -> Any:
        return select(events.c.stream_id, func.max(func.setseed(0.5) * 0)).group_by(
            events.c.stream_id
        )

    reasons = {"wrong": "integer", "uncertain": "volatile"}
    projections = []
    for name, select_function in zip(reasons, (wrong_type, volatile), strict=True):
        table = Table(name, MetaData(), Column("id", Text, primary_key=True), Column("n", Integer))
        projections.append(SqlProjection(name, table=table, select=select_function))
    async with working(client, database, registry_of(*projections)):
        for name, reason in reasons.items():
            failure = await _failure(client, database, "Rebuild", name)
            assert failure.type == "InvalidProjection", name
            assert reason in failure.message, name


async def test_lookups_are_what_a_rebuild_depends_upon(client: Client, database: Database) -> None:
    names = Table("names", MetaData(), Column("id", Text, primary_key=True), Column("name", Text))
    projection = SqlProjection(
        "named",
        table=Table(
            "named", MetaData(), Column("id", Text, primary_key=True), Column("name", Text)
        ),
        select=lambda events: (
            select(events.c.stream_id, func.max(names.c.name))
            .select_from(events.outerjoin(names, names.c.id == events.c.stream_id))
            .group_by(events.c.stream_id)
        ),
        lookups=[names],
    )
    async with database.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE names (id text PRIMARY KEY, name text)"))
        await connection.execute(text("INSERT INTO names VALUES ('s1', 'one')"))
    await write(database.engine, some(keys=3, each=1))
    async with working(client, database, registry_of(projection)):
        handle = await start(client, database, "Rebuild", {"projection": "named", "dry_run": True})
        await handle.result()
        plan = Preview.model_validate(await handle.query("plan"))
        assert plan.lookups == ["names"]
        await run(client, database, "Rebuild", "named")
    rows = await rows_of(database.engine, projection)
    assert {key: row["name"] for key, row in rows.items()} == {"s0": None, "s1": "one", "s2": None}


def test_fold_is_refused() -> None:
    with pytest.raises(InvalidProjection, match="said in SQL"):
        summed().fold([])
