"""Which keys verification folds again: of any type, few of many, those with few events."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import ARRAY, Column, Double, Integer, MetaData, Table, Uuid
from sqlalchemy.ext.asyncio import AsyncConnection

from refold import Event, Projection, Row
from refold.source import oracle, samples
from refold.source.oracle import Bounds
from refold.store import generations
from refold.store.tables import read_models
from refold.store.tables.samples import sample_keys
from tests.support.counters import counters
from tests.support.databases import Database
from tests.support.runs import write
from tests.support.verification import build, change, verified


async def test_keys_of_a_large_table_are_drawn_from_some_pages(database: Database) -> None:
    projection = counters()
    rows = [{"key": f"k{n}", "count": 1, "sum": Decimal(1), "last": 1} for n in range(30_000)]
    await build(database, projection, rows)
    async with database.engine.begin() as connection:
        (made,) = await generations.of_projection(connection, projection.name)
        table = read_models.physical(projection, made.schema_name)
        first = await sample_keys(connection, table, count=50, rows=30_000)
        again = await sample_keys(connection, table, count=50, rows=30_000)
        assert len(set(first)) == len(set(again)) == 50
        assert set(first) != set(again)
        # Statistics may be wrong: there are far fewer rows than was said.
        assert len(await sample_keys(connection, table, count=50, rows=10**9)) == 50
        await connection.execute(table.delete().where(table.c.key != "k5"))
        assert await sample_keys(connection, table, count=50, rows=30_000) == ["k5"]


async def test_a_key_of_several_parts_and_types_is_folded_again(database: Database) -> None:
    projection = Projection(
        "parts",
        table=Table(
            "parts",
            MetaData(),
            Column("id", Uuid, primary_key=True),
            Column("n", Integer, primary_key=True),
            Column("last", Double),
            Column("list", ARRAY(Integer)),
        ),
        key=("data.id", "data.n"),
    )

    @projection.on("Seen")
    def seen(row: Row | None, event: Event) -> Row:
        # NaN differs from itself in Python, a tuple from the list that is read.
        return {"last": float("nan"), "list": (1, 2)}

    ids = [f"00000000-0000-0000-0000-{n:012}" for n in range(30)]
    await write(database.engine, [("s", "Seen", {"id": i, "n": n}) for i in ids for n in range(3)])
    await build(database, projection)
    await build(database, projection)
    diff = await verified(database, projection)
    assert diff.is_same
    assert diff.folded_again > 50
    assert diff.folded_wrong == 0
    await change(database, projection, "UPDATE new SET list = '{2,1}'")
    diff = await verified(database, projection)
    assert diff.folded_wrong == diff.folded_again > 50
    assert len(diff.wrong) == 5
    assert diff.wrong[0].found is not None
    assert diff.wrong[0].found["list"] == "[2,1]"


def called(projection: Projection) -> Projection:
    """The counters, with a function as key that gives each event two rows."""
    made = Projection(
        projection.name,
        table=projection.table,
        key=lambda event: [event.data["key"], "all"],
    )
    for kind in ("Added", "Removed"):
        made.on(kind)(projection.handlers[kind])
    return made


async def test_a_key_function_folds_a_small_log_whole(database: Database) -> None:
    projection = called(counters())
    await write(database.engine, [(f"s{n}", "Added", {"key": f"k{n}", "n": n}) for n in range(30)])
    await build(database, projection)
    await build(database, projection)
    diff = await verified(database, projection)
    assert (diff.folded_again, diff.folded_wrong) == (31, 0)
    await change(database, projection, "DELETE FROM new WHERE key IN ('all', 'k3')")
    diff = await verified(database, projection)
    assert diff.folded_wrong == 2


async def test_a_key_function_on_a_large_log_is_not_folded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, "BOUNDS", Bounds(events=29))
    projection = called(counters())
    await write(database.engine, [(f"s{n}", "Added", {"key": f"k{n}", "n": n}) for n in range(30)])
    await build(database, projection)
    await build(database, projection)
    diff = await verified(database, projection)
    assert diff.folded_again == 0
    assert "30 events are too many" in str(diff.note)


async def test_keys_with_too_many_events_are_passed_over(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oracle, "BOUNDS", Bounds(events=12, events_of_a_key=5))
    projection = counters()
    sizes = {"large": 6, "a": 5, "b": 5, "c": 5}
    await write(
        database.engine,
        [(key, "Added", {"key": key, "n": n}) for key, size in sizes.items() for n in range(size)],
    )
    await build(database, projection)
    await build(database, projection)
    diff = await verified(database, projection)
    assert (diff.folded_again, diff.folded_wrong) == (2, 0)
    assert diff.note == "2 keys were not folded again: too many events."


async def test_keys_of_a_large_log_are_drawn_from_some_pages(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "_DRAWN_FROM", (100, 1000))
    projection = counters()
    await write(
        database.engine, [(f"s{n}", "Added", {"key": f"k{n}", "n": n}) for n in range(3000)]
    )
    async with database.engine.connect() as connection:
        keys = await logged(connection, projection, 3000)
        assert 0 < len(set(keys)) == len(keys) <= 40
        assert await logged(connection, projection, 0) == []


async def logged(connection: AsyncConnection, projection: Projection, upto: int) -> list[Any]:
    keys: list[Any] = await samples.sample_logged_keys(connection, projection, upto=upto, count=40)
    return keys
