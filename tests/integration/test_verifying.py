"""Verification finds what a rebuild did wrong, and nothing where it did not."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

import pytest
from sqlalchemy import ARRAY, Column, Double, Integer, MetaData, Table, Text, Uuid, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold import Event, Projection, Row
from refold.engine.cutover.verification import verify
from refold.messages.run.diff import Diff
from refold.runtime.database import raw
from refold.source import oracle, samples
from refold.source.oracle import Bounds
from refold.store import generations
from refold.store.generations import ACTIVE, BUILDING
from refold.store.tables import read_models
from refold.store.tables.rows import RowStore
from refold.store.tables.samples import sample_keys
from tests.support.counters import counters
from tests.support.databases import Database
from tests.support.runs import events_upto, write

POSITION = 10**6


async def build(database: Database, projection: Projection, rows: list[Row] | None = None) -> None:
    """A generation with a table of its own, of the events or of these rows."""
    if rows is None:
        rows = list(projection.fold(await events_upto(database.engine, projection)).values())
    async with database.engine.begin() as connection:
        made = await generations.create(
            connection,
            projection.name,
            version=projection.version,
            status=BUILDING,
            schema_name=None,
            table_name=projection.table.name,
            position=POSITION,
        )
        await read_models.create_shadow(connection, projection, made.schema_name)
        store = RowStore(read_models.physical(projection, made.schema_name))
        await store.load(await raw(connection), rows)
        await read_models.add_indexes(connection, projection, made.schema_name)


async def verified(database: Database, projection: Projection, *, live: bool = True) -> Diff:
    """The last generation built, against the one before."""
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        async with connection.begin():
            known = await generations.of_projection(connection, projection.name)
            return await verify(
                connection,
                projection,
                shadow=known[-1],
                live=known[-2] if live else None,
                live_table_schema="public",
                position=POSITION,
            )


async def change(database: Database, projection: Projection, statement: str) -> None:
    """Does something to the last generation's table, which the statement calls `new`."""
    async with database.engine.begin() as connection:
        last = (await generations.of_projection(connection, projection.name))[-1]
        name = read_models.quoted(last.schema_name, last.table_name)
        await connection.execute(text(statement.replace("new", name)))


def some_events(keys: int) -> list[tuple[str, str, dict[str, Any]]]:
    random = Random(keys)
    drawn = [
        (
            f"s{key}",
            random.choice(["Added", "Added", "Removed", "Other"]),
            key,
            random.randrange(99),
        )
        for key in random.choices(range(keys), k=5 * keys)
    ]
    return [(stream, kind, {"key": f"k{key}", "n": n}) for stream, kind, key, n in drawn]


async def test_a_right_table_is_found_right(database: Database) -> None:
    projection = counters()
    await write(database.engine, some_events(200))
    await build(database, projection)
    await build(database, projection)
    diff = await verified(database, projection)
    assert diff.is_same
    assert (diff.changed_percent, diff.note) == (0.0, None)
    assert (diff.live_generation, diff.shadow_generation, diff.position) == (1, 2, POSITION)
    assert diff.rows_live == diff.rows_shadow == diff.unchanged > 0
    assert diff.folded_again > 50
    assert (diff.folded_wrong, diff.wrong) == (0, [])


async def test_corrupted_and_missing_and_needless_rows_are_found(database: Database) -> None:
    projection = counters()
    events = [(f"s{n}", "Added", {"key": f"k{n}", "n": 8}) for n in range(40)]
    await write(database.engine, events)
    await build(database, projection)
    await build(database, projection)
    await change(database, projection, "UPDATE new SET sum = sum * 2 WHERE key = 'k7'")
    await change(database, projection, "DELETE FROM new WHERE key = 'k8'")
    await change(database, projection, "INSERT INTO new VALUES ('nobody', 1, 1.00, 8)")
    diff = await verified(database, projection)
    assert (diff.added, diff.removed, diff.changed, diff.unchanged) == (1, 1, 1, 38)
    assert diff.changed_percent == pytest.approx(7.5)
    assert (diff.folded_again, diff.folded_wrong) == (41, 3)
    wrong = {row.key["key"]: (row.expected, row.found) for row in diff.wrong}
    row = {"count": 1, "sum": "1.00", "last": 8}
    assert wrong == {
        "k7": ({"sum": "1.00"}, {"sum": "2.00"}),
        "k8": (row, None),
        "nobody": (None, row),
    }
    assert {sample.kind: sample.key["key"] for sample in diff.samples} == {
        "added": "nobody",
        "removed": "k8",
        "changed": "k7",
    }


async def test_only_events_up_to_the_position_count(database: Database) -> None:
    projection = counters()
    await write(database.engine, [("s", "Added", {"key": "a", "n": 8})])
    await build(database, projection)
    async with database.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO refold.events OVERRIDING SYSTEM VALUE VALUES "
                f"""({POSITION + 1}, 's', 2, 'Added', '{{"key": "a", "n": 8}}')"""
            )
        )
    await build(database, projection, [])
    diff = await verified(database, projection)
    assert diff.folded_wrong == 1
    assert diff.wrong[0].expected == {"count": 1, "sum": "1.00", "last": 8}


# -- what is live ----------------------------------------------------------------------------


async def test_without_a_live_table_all_rows_are_added(database: Database) -> None:
    projection = counters()
    await write(database.engine, [("s", "Added", {"key": "a", "n": 8})])
    await build(database, projection)
    diff = await verified(database, projection, live=False)
    assert (diff.rows_live, diff.rows_shadow, diff.added) == (0, 1, 1)
    assert (diff.live_generation, diff.position) == (None, POSITION)
    assert diff.changed_percent == 100
    assert "no live table" in str(diff.note)
    assert (diff.folded_again, diff.folded_wrong) == (1, 0)


async def test_a_table_that_was_there_before_is_compared(database: Database) -> None:
    projection = counters()
    await write(database.engine, [("s", "Added", {"key": "a", "n": 8})])
    await build(database, projection)
    async with database.engine.begin() as connection:
        await connection.run_sync(projection.table.metadata.create_all)
        await connection.execute(text("INSERT INTO counters VALUES ('a', 2, 1, 8)"))
    diff = await verified(database, projection, live=False)
    assert (diff.live_generation, diff.position) == (None, None)
    assert [column.column for column in diff.columns] == ["count"]
    assert "is not known" in str(diff.note)


async def test_another_position_is_said(database: Database) -> None:
    projection = counters()
    async with database.engine.begin() as connection:
        await connection.run_sync(projection.table.metadata.create_all)
        await generations.create(
            connection,
            projection.name,
            version=1,
            status=ACTIVE,
            schema_name="public",
            table_name="counters",
            position=7,
        )
    await build(database, projection)
    diff = await verified(database, projection)
    assert diff.position is None
    assert "is 7:" in str(diff.note)


# -- many columns and rows -------------------------------------------------------------------


async def test_a_diff_stays_small(database: Database) -> None:
    names = ["c" * 60 + str(n) for n in range(600)]

    def wide(*columns: str) -> Projection:
        return Projection(
            "wide",
            table=Table(
                "wide",
                MetaData(),
                *[Column(f"k{n}", Text, primary_key=True) for n in range(10)],
                *[Column(name, Text) for name in columns],
            ),
            key=tuple(f"data.k{n}" for n in range(10)),
        )

    old, new = wide(*names[:400]), wide(*names[200:])
    old.on("Made")(lambda row, event: dict.fromkeys(names[200:400], "\x01" * 400))
    new.on("Made")(lambda row, event: dict.fromkeys(names[200:], "\x02" * 400))
    data = [{f"k{k}": f"{n}" + "ü" * 200 for k in range(10)} for n in range(30)]
    await write(database.engine, [(f"s{n}", "Made", data[n]) for n in range(20)])
    await build(database, old)
    await write(database.engine, [(f"s{n}", "Made", data[n]) for n in range(20, 30)])
    await build(database, new)
    await change(database, new, f"UPDATE new SET {names[300]} = 'other' WHERE k0 < '2'")
    await change(database, new, "DELETE FROM new WHERE k0 > '6'")
    diff = await verified(database, new)
    assert (diff.changed, diff.folded_wrong > 10) == (diff.rows_live - diff.removed, True)
    assert {sample.kind for sample in diff.samples} == {"added", "removed", "changed"}
    assert diff.wrong
    assert len(diff.columns) == 50
    assert "150 columns more" in str(diff.note)
    assert len(diff.model_dump_json().encode()) < 70_000


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


# -- keys ------------------------------------------------------------------------------------


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
