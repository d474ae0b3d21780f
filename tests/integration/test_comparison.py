"""Comparing two tables: exact counts, blind to how values are written, whatever the columns are."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    ARRAY,
    CHAR,
    JSON,
    REAL,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    Numeric,
    String,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from refold import Row
from refold.messages.run.diff import ColumnDiff
from refold.stack.postgres import EmbeddedPostgres
from refold.store.tables.comparable import Place, columns_of
from refold.store.tables.comparison import SAMPLES, Comparison
from tests.support.comparing import LIVE, SHADOW, by_sql, compared, fill, projection_of, snapshot
from tests.support.counters import counters
from tests.support.databases import Database, drop_database, make_database


@pytest.fixture(scope="module")
async def database(template: EmbeddedPostgres) -> AsyncIterator[Database]:
    made = await make_database(template)
    yield made
    await drop_database(template, made)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    async with snapshot(database) as connection:
        yield connection


# -- many types, many rows -------------------------------------------------------------------

KINDS: dict[str, Any] = {
    "text": Text(),
    "Größe (cm)": String(9),
    "a:b": CHAR(4),
    'quote"d': Integer(),
    "100%": BigInteger(),
    "numeric": Numeric(14, 2),
    "exact": Numeric(),
    "float": Float(),
    "real": REAL(),
    "at": DateTime(timezone=True),
    "naive": DateTime(),
    "date": Date(),
    "boolean": Boolean(),
    "uuid": Uuid(),
    "bytes": LargeBinary(),
    "json": JSON(none_as_null=True),
    "jsonb": JSONB(none_as_null=True),
    "array": ARRAY(Integer),
    "texts": ARRAY(Text),
}
EVERYTHING = projection_of(
    Column("shop", Text, primary_key=True),
    Column("n", Integer, primary_key=True),
    *[Column(name, kind) for name, kind in KINDS.items()],
)


def drawn(random: Random) -> Row:
    """Values of few kinds, so that two rows are often the same in a column."""
    n = random.randrange(3)
    values: Row = {
        "text": ["", "a", "A"][n],
        "Größe (cm)": ["x", "ä", "x "][n],
        "a:b": ["ab  ", "cd  ", "    "][n],
        'quote"d': n,
        "100%": 2**60 + n,
        "numeric": Decimal(n).quantize(Decimal("0.01")),
        "exact": Decimal(n) / 8,
        "float": [0.0, 0.1, float("inf")][n],
        "real": [0.0, 0.5, -2.0][n],
        "at": datetime(2026, 1, 1 + n, tzinfo=UTC),
        "naive": datetime(2026, 1, 1, n),
        "date": date(2026, 1, 1) + timedelta(n),
        "boolean": bool(n % 2),
        "uuid": UUID(int=n),
        "bytes": bytes([n]),
        "json": [{"a": 1, "b": n}, [n], {"b": 1}][n],
        "jsonb": [{"a": 1, "b": n}, "text", 1.5][n],
        "array": [[], [1, 2], [2, 1]][n],
        "texts": [["a"], ["A"], []][n],
    }
    return {name: None if random.random() < 0.15 else value for name, value in values.items()}


def changed_row(random: Random, row: Row) -> Row:
    other = drawn(random)
    names = random.sample(sorted(KINDS), random.choice([0, 0, 1, 3, len(KINDS)]))
    return {**row, **{name: other[name] for name in names}}


@pytest.mark.parametrize("seed", range(12))
async def test_counts_are_those_of_a_comparison_in_python(
    connection: AsyncConnection, seed: int
) -> None:
    random = Random(seed)
    keys = [(shop, n) for shop in ("a", "A", "ä", "") for n in range(60)]
    live = {key: drawn(random) for key in keys if random.random() < 0.9}
    shadow = {
        key: changed_row(random, live[key]) if key in live else drawn(random)
        for key in keys
        if random.random() < 0.9
    }
    for schema, rows in ((LIVE, live), (SHADOW, shadow)):
        made = [{"shop": shop, "n": n, **row} for (shop, n), row in rows.items()]
        await fill(connection, EVERYTHING, schema, made)
    found = await compared(connection, EVERYTHING)
    both = live.keys() & shadow.keys()
    differing = {name: sum(live[key][name] != shadow[key][name] for key in both) for name in KINDS}
    assert (found.rows_live, found.rows_shadow) == (len(live), len(shadow))
    assert found.added == len(shadow.keys() - live.keys())
    assert found.removed == len(live.keys() - shadow.keys())
    assert found.changed == sum(live[key] != shadow[key] for key in both)
    assert found.unchanged == sum(live[key] == shadow[key] for key in both)
    assert {column.column: column.rows for column in found.columns} == {
        name: rows for name, rows in differing.items() if rows
    }
    assert [column.rows for column in found.columns] == sorted(
        (column.rows for column in found.columns), reverse=True
    )
    assert (found.columns_added, found.columns_dropped, found.columns_retyped) == ([], [], [])
    check_samples(found, live, shadow)


def check_samples(found: Comparison, live: dict[Any, Row], shadow: dict[Any, Row]) -> None:
    kinds = [sample.kind for sample in found.samples]
    assert {kind: kinds.count(kind) for kind in ("added", "removed", "changed")} == {
        "added": min(SAMPLES, found.added),
        "removed": min(SAMPLES, found.removed),
        "changed": min(SAMPLES, found.changed),
    }
    for sample in found.samples:
        key = (sample.key["shop"], sample.key["n"])
        assert (key in live) == (sample.kind != "added") == (sample.live is not None)
        assert (key in shadow) == (sample.kind != "removed") == (sample.shadow is not None)
        if sample.live is not None and sample.shadow is not None:
            differing = [name for name in KINDS if live[key][name] != shadow[key][name]]
            assert list(sample.live) == list(sample.shadow)
            shown = [name for name in sample.live if name != "…"]
            assert shown == differing[:10]


async def test_equal_tables_have_no_difference(connection: AsyncConnection) -> None:
    random = Random(1)
    rows = [{"shop": "s", "n": n, **drawn(random)} for n in range(200)]
    await fill(connection, EVERYTHING, LIVE, rows)
    await fill(connection, EVERYTHING, SHADOW, rows[::-1])
    assert await compared(connection, EVERYTHING) == Comparison(200, 200, 0, 0, 0)


async def test_empty_tables_have_no_difference(connection: AsyncConnection) -> None:
    await fill(connection, EVERYTHING, LIVE, [])
    await fill(connection, EVERYTHING, SHADOW, [])
    assert await compared(connection, EVERYTHING) == Comparison(0, 0, 0, 0, 0)


async def test_a_table_of_its_key_alone_is_compared(connection: AsyncConnection) -> None:
    only = projection_of(Column("id", Text, primary_key=True))
    await fill(connection, only, LIVE, [{"id": "a"}, {"id": "b"}])
    await fill(connection, only, SHADOW, [{"id": "b"}, {"id": "c"}, {"id": "d"}])
    found = await compared(connection, only)
    assert (found.added, found.removed, found.changed, found.unchanged) == (2, 1, 0, 1)


# -- a schema change -------------------------------------------------------------------------


async def test_only_columns_of_both_are_compared(connection: AsyncConnection) -> None:
    old = projection_of(
        Column("id", Integer, primary_key=True),
        Column("kept", Text),
        Column("gone", Text),
        Column("total", Integer),
    )
    new = projection_of(
        Column("total", Numeric(14, 2)),
        Column("note", Text),
        Column("id", Integer, primary_key=True),
        Column("kept", Text),
    )
    await fill(
        connection,
        old,
        LIVE,
        [{"id": n, "kept": "k", "gone": "g", "total": n} for n in range(10)],
    )
    await fill(
        connection,
        new,
        SHADOW,
        [{"id": n, "kept": "k", "note": "n", "total": Decimal(n + (n > 7))} for n in range(11)],
    )
    found = await compared(connection, new)
    assert (found.added, found.removed, found.changed, found.unchanged) == (1, 0, 2, 8)
    assert found.columns == [ColumnDiff(column="total", rows=2)]
    assert found.columns_added == ["note"]
    assert found.columns_dropped == ["gone"]
    assert found.columns_retyped == ["total: integer → numeric(14,2)"]
    changed, added = found.samples[0], found.samples[-1]
    assert (changed.live, changed.shadow) in [
        ({"total": n}, {"total": f"{n + 1}.00"}) for n in (8, 9)
    ]
    assert (added.key, added.shadow) == (
        {"id": 10},
        {"total": "11.00", "note": "n", "kept": "k"},
    )


async def test_a_key_of_another_type_still_matches(connection: AsyncConnection) -> None:
    old = projection_of(Column("id", Integer, primary_key=True), Column("v", Integer))
    new = projection_of(Column("id", Text, primary_key=True), Column("v", Integer))
    await fill(connection, old, LIVE, [{"id": n, "v": n} for n in range(5)])
    await fill(connection, new, SHADOW, [{"id": str(n), "v": n} for n in range(6)])
    found = await compared(connection, new)
    assert (found.added, found.removed, found.changed) == (1, 0, 0)
    assert found.columns_retyped == ["id: integer → text"]


async def test_rows_of_another_key_are_counted_only(connection: AsyncConnection) -> None:
    old = projection_of(Column("id", Integer, primary_key=True), Column("shop", Text))
    new = projection_of(
        Column("id", Integer, primary_key=True), Column("shop", Text, primary_key=True)
    )
    rows = [{"id": n, "shop": "s"} for n in range(5)]
    await fill(connection, old, LIVE, rows)
    await fill(connection, new, SHADOW, rows[:4])
    found = await compared(connection, new)
    assert (found.rows_live, found.rows_shadow) == (5, 4)
    assert (found.added, found.removed, found.changed, found.unchanged) == (4, 5, 0, 0)
    assert found.samples == []
    assert found.note is not None
    assert "(id)" in found.note
    assert "(id, shop)" in found.note


async def test_there_are_no_columns_of_no_table(connection: AsyncConnection) -> None:
    assert await columns_of(connection, Place(LIVE, "nothing")) == []


# -- samples ---------------------------------------------------------------------------------


async def test_samples_are_few_and_small(connection: AsyncConnection) -> None:
    columns = [Column(f"c{n}", Text) for n in range(300)]
    wide = projection_of(Column("id", Text, primary_key=True), Column("b", LargeBinary), *columns)

    def row(key: int, letter: str) -> Row:
        values = {f"c{n}": letter * (100_000 if n == 0 else 3) for n in range(300)}
        return {"id": f"{key}-" + "k" * 500, "b": letter.encode() * 100_000, **values}

    await fill(connection, wide, LIVE, [row(n, "x") for n in range(20)])
    await fill(connection, wide, SHADOW, [row(n, "y") for n in range(10, 30)])
    found = await compared(connection, wide)
    assert len(found.samples) == 3 * SAMPLES
    assert sum(len(sample.model_dump_json()) for sample in found.samples) < 40_000
    for sample in found.samples:
        assert sample.key["id"].endswith("…")
        for side in (sample.live, sample.shadow):
            if side is not None:
                assert len(side) == 11
                assert side["c0"].endswith("…")
                assert side["b"].endswith("…")


async def test_a_sample_shows_where_long_values_differ(connection: AsyncConnection) -> None:
    found = await by_sql(
        connection,
        ("text", "text"),
        ("repeat('x', 1000) || 'A'", "repeat('x', 1000) || 'B'"),
    )
    (sample,) = found.samples
    assert (sample.live, sample.shadow) == (
        {"v": "…" + "x" * 20 + "A"},
        {"v": "…" + "x" * 20 + "B"},
    )


# -- time ------------------------------------------------------------------------------------


async def test_200_000_rows_are_compared_in_seconds(connection: AsyncConnection) -> None:
    projection = counters()
    rows: list[Row] = [
        {"key": f"order-{n}", "count": n % 7, "sum": Decimal(n) / 100, "last": n}
        for n in range(200_000)
    ]
    await fill(connection, projection, LIVE, rows)
    doubled = [{**row, "sum": row["sum"] * 2} if row["count"] == 3 else row for row in rows]
    await fill(connection, projection, SHADOW, doubled[1:])
    began = time.perf_counter()
    found = await compared(connection, projection)
    print(f"\n200,000 rows compared in {time.perf_counter() - began:.2f} s")
    assert (found.added, found.removed) == (0, 1)
    expected = sum(row["count"] == 3 for row in rows)
    assert found.columns == [ColumnDiff(column="sum", rows=expected)]
    assert found.changed == expected
