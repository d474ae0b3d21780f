"""Requests as people write them: with null for nothing, dates without a time, and what is missing.

The first is the specification's own example.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

import pytest
from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, Uuid, text
from temporalio.client import Client

from refold import Event, Projection
from refold.messages.run.life import BackfillResult
from refold.projection.registry import Registry
from tests.support.counters import counters, registry_of, siblings
from tests.support.databases import Database
from tests.support.runs import (
    NOON,
    assert_oracle,
    events_upto,
    leftovers,
    rows_of,
    run,
    working,
    write,
)
from tests.support.soaking import soak

SPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


async def sql(database: Database, *statements: str) -> None:
    async with database.engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


@pytest.mark.parametrize("kind", ["Backfill", *soak("Rebuild")])
@pytest.mark.usefixtures("counters_built")
async def test_the_example_of_the_specification(
    client: Client, database: Database, kind: str
) -> None:
    """The date is after all events: taken for a bound, it would have selected none of them."""
    projection = counters()
    async with working(client, database, registry_of(projection)):
        await sql(database, "UPDATE counters SET count = -1", "DELETE FROM counters WHERE key='3'")
        result = await run(
            client,
            database,
            kind,
            "counters",
            from_date="2027-01-01T00:00:00Z",
            to_date=None,
            is_atomic=True,
            criteria="full_rebuild",
            requested_by="admin-user",
        )
    assert (result.status, result.generation) == ("completed", 2)
    assert result.note == "a full rebuild folds every key: from_date selects nothing further"
    await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built")
async def test_a_tenant_is_rebuilt_in_full_whatever_the_date(
    client: Client, database: Database
) -> None:
    async with working(client, database, registry_of(counters()), tenant_path="data.key"):
        await sql(database, "UPDATE counters SET count = -1")
        dates = {"from_date": "2027-01-01", "to_date": "2027-01-02"}
        result = await run(
            client,
            database,
            "Backfill",
            "counters",
            criteria="full_rebuild",
            tenant="k001",
            **dates,
        )
    assert result.note is not None
    assert "from_date and to_date select nothing further" in result.note
    found = await rows_of(database.engine, counters())
    assert {row["count"] for key, row in found.items() if key != "k001"} == {-1}
    assert found["k001"]["count"] == 5


@pytest.mark.usefixtures("counters_built")
async def test_a_plan_says_which_midnight_a_date_means(client: Client, database: Database) -> None:
    async def planned(**fields: Any) -> str | None:
        result = await run(client, database, "Backfill", "counters", dry_run=True, **fields)
        assert result.plan is not None
        assert result.plan.selection is not None
        assert result.plan.selection.from_date == NOON.replace(hour=0)
        return result.plan.note

    async with working(client, database, registry_of(counters())):
        assert await planned(from_date="2026-01-01") == "from_date 2026-01-01 is midnight UTC"
        assert await planned(from_date="2026-01-01", to_date="2026-01-02") == (
            "from_date 2026-01-01 is midnight UTC; to_date 2026-01-02 is midnight UTC"
        )
        assert await planned(from_date="2026-01-01T00:00:00Z") is None


@pytest.mark.usefixtures("counters_built")
async def test_the_declared_criteria_are_those_of_a_backfill(
    client: Client, database: Database
) -> None:
    projection = counters(criteria="last_n_events", last_n=1)
    *_, latest = await events_upto(database.engine, projection)
    async with working(client, database, registry_of(projection)):
        await sql(database, "UPDATE counters SET count = -1")
        await run(client, database, "Backfill", "counters")
        found = await rows_of(database.engine, projection)
        right = {key for key, row in found.items() if row["count"] == 5}
        assert right == {latest.data["key"]}
        assert [row["count"] for row in found.values()].count(-1) == 39
        await run(client, database, "Rebuild", "counters")  # full unless it says otherwise
        await assert_oracle(database.engine, projection)


# -- missing rows ----------------------------------------------------------------------------


async def missing(client: Client, database: Database, name: str, **fields: Any) -> BackfillResult:
    return await run(
        client, database, "Backfill", name, criteria="incremental_update", missing=True, **fields
    )


@pytest.mark.usefixtures("counters_built")
async def test_keys_without_a_row_are_refolded_and_new_events_applied(
    client: Client, database: Database
) -> None:
    projection = counters(partitions=3, batch_size=7)
    # One key's row was deleted by its handler: it is folded again, and stays without a row.
    gone = ("gone", "Removed", {"key": "gone", "n": 1})
    await write(database.engine, [("gone", "Added", {"key": "gone", "n": 1}), gone])
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
        lost = sorted(await rows_of(database.engine, projection))[:3]
        listed = ", ".join(f"'{key}'" for key in lost)
        # A row that is wrong, not missing, is none of its business.
        kept = sorted(await rows_of(database.engine, projection))[-1]
        await sql(
            database,
            f"DELETE FROM counters WHERE key IN ({listed})",
            f"UPDATE counters SET count = -1 WHERE key = '{kept}'",
        )
        await write(database.engine, [("new", "Added", {"key": "new", "n": 5})])
        plan = (await missing(client, database, "counters", dry_run=True)).plan
        assert plan is not None
        assert plan.selected_keys == len(lost) + 1
        assert plan.foretold is not None
        assert (plan.foretold.added, plan.foretold.changed) == (len(lost), 0)
        result = await missing(client, database, "counters")
        assert (result.status, result.in_place) == ("completed", True)
        found = await rows_of(database.engine, projection)
        assert {*lost, "new"} <= found.keys()
        assert "gone" not in found
        assert found[kept]["count"] == -1
        await sql(database, f"UPDATE counters SET count = 5 WHERE key = '{kept}'")
    await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_where_no_row_is_missing_only_new_events_are_applied(
    client: Client, database: Database
) -> None:
    projection = counters()
    async with working(client, database, registry_of(projection)):
        await write(database.engine, [("b", "Added", {"key": "b", "n": 1})])
        result = await missing(client, database, "counters")
    assert result.note == "no key that has events lacks its row: only new events are applied"
    assert result.events_processed == 1
    assert "b" in await assert_oracle(database.engine, projection)


def _typed(name: str, *columns: Column[Any], key: Any) -> Projection:
    table = Table(name, MetaData(), *columns, Column("count", Integer, nullable=False))
    projection = Projection(name, table=table, key=key)

    @projection.on("Added")
    def added(row: dict[str, Any] | None, event: Event) -> dict[str, Any]:
        return {"count": (row or {"count": 0})["count"] + 1}

    return projection


@pytest.mark.parametrize("first", [2, *soak(0)])
async def test_missing_keys_of_every_type(client: Client, database: Database, first: int) -> None:
    """Also of a function."""
    numbers = _typed("numbers", Column("n", Integer, primary_key=True), key="data.n")
    ids = _typed("ids", Column("id", Uuid, primary_key=True), key="data.id")
    pairs = _typed(
        "pairs",
        Column("key", Text(collation="C"), primary_key=True),
        Column("n", BigInteger, primary_key=True),
        key=("data.key", "data.n"),
    )
    projections = [numbers, ids, pairs, siblings()[1]][first:]
    await write(
        database.engine,
        [
            ("s", "Added", {"key": f"k{n % 7}", "n": n % 11, "id": str(uuid5(SPACE, str(n % 5)))})
            for n in range(60)
        ],
    )
    async with working(client, database, Registry(projections)):
        for projection in projections:
            await run(client, database, "Backfill", projection.name)
            whole = await rows_of(database.engine, projection)
            column = projection.key_columns[0]
            await sql(
                database,
                f"DELETE FROM {projection.table.name} WHERE {column} IN "
                f"(SELECT {column} FROM {projection.table.name} ORDER BY 1 LIMIT 3)",
            )
            result = await missing(client, database, projection.name)
            assert await rows_of(database.engine, projection) == whole
            assert result.generation == 1, projection.name
            await assert_oracle(database.engine, projection)
