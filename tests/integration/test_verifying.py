"""Verification finds what a rebuild did wrong, and nothing where it did not."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, Table, Text, text

from refold import Projection
from refold.store import generations
from refold.store.generations import ACTIVE
from tests.support.counters import counters
from tests.support.databases import Database
from tests.support.runs import write
from tests.support.verification import POSITION, build, change, verified


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
    assert "No table was live before it." in str(diff.note)
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
