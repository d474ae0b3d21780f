"""What verification folds again is bounded by events, bytes and time; it says what it left out."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from time import sleep
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, Text, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold import Event, Projection, Row
from refold.engine.cutover.verification import Checked, check_keys, verify
from refold.projection.dead_letters import HeldKeys
from refold.runtime.database import raw
from refold.source import oracle
from refold.source.oracle import Bounds
from refold.store import generations
from refold.store.generations import BUILDING
from refold.store.tables import read_models
from refold.store.tables.rows import RowStore
from tests.support.databases import Database
from tests.support.runs import events_upto, write
from tests.support.soaking import soak

UPTO = 10**6
MB = 1 << 20


def texts(key: Any = "data.key") -> Projection:
    """A row holds the text of its latest event, and how many events it has."""
    projection = Projection(
        "texts",
        table=Table(
            "texts",
            MetaData(),
            Column("key", Text, primary_key=True),
            Column("count", Integer, nullable=False),
            Column("text", Text, nullable=False),
        ),
        key=key,
    )

    @projection.on("Written")
    def written(row: Row | None, event: Event) -> Row:
        return {"count": (row["count"] if row else 0) + 1, "text": event.data["text"]}

    return projection


def by_function() -> Projection:
    return texts(key=lambda event: [event.data["key"]])


async def write_large(database: Database, keys: int, each: int, size: int) -> None:
    """So many events of so many characters each, all different."""
    async with database.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO refold.events (stream_id, version, type, data) "
                "SELECT 's' || k, v, 'Written', "
                "       jsonb_build_object('key', 'k' || k, 'text', k || '-' || v || :text) "
                "FROM generate_series(1, :keys) k, generate_series(1, :each) v"
            ),
            {"keys": keys, "each": each, "text": Random(size).randbytes(size // 2).hex()},
        )


@asynccontextmanager
async def built(
    database: Database, projection: Projection, *, live: bool = False
) -> AsyncIterator[AsyncConnection]:
    """A connection that sees a generation built right, or two alike, in a transaction."""
    for _ in range(1 + live):
        await build(database, projection)
    async with database.engine.connect() as connection, connection.begin():
        yield connection


async def build(database: Database, projection: Projection) -> None:
    """A generation with a table of its own."""
    async with database.engine.begin() as connection:
        made = await generations.create(
            connection,
            projection.name,
            version=1,
            status=BUILDING,
            schema_name=None,
            table_name=projection.table.name,
            position=UPTO,
        )
        await read_models.create_shadow(connection, projection, made.schema_name)
        await read_models.add_indexes(connection, projection, made.schema_name)
        rows = projection.fold(await events_upto(database.engine, projection))
        store = RowStore(read_models.physical(projection, made.schema_name))
        await store.load(await raw(connection), list(rows.values()))


async def check(
    connection: AsyncConnection, projection: Projection, keys: int, **bounds: Any
) -> Checked:
    (there,) = await generations.of_projection(connection, projection.name)
    asked = [f"k{n}" for n in range(1, keys + 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle, "BOUNDS", Bounds(**bounds))
        return await check_keys(connection, projection, there, asked, upto=UPTO, held=HeldKeys())


async def test_large_events_are_never_in_memory_together(database: Database) -> None:
    projection = texts()
    await write_large(database, keys=12, each=2, size=MB // 2)
    async with built(database, projection) as connection:
        tracemalloc.start()
        checked = await check(connection, projection, 12)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (checked.folded, checked.wrong.total(), checked.note) == (12, 0, None)
    assert peak < 48 * MB, f"{peak / MB:.0f} MB at most"


@pytest.mark.parametrize("rows", [12, *soak(60)])
async def test_rows_of_many_large_columns_are_compared_a_few_at_a_time(
    database: Database, rows: int
) -> None:
    names = [f"c{n:03}" for n in range(100)]
    wide = Projection(
        "texts",
        table=Table(
            "texts",
            MetaData(),
            Column("key", Text, primary_key=True),
            *[Column(name, Text) for name in names],
        ),
        key="data.key",
    )
    body = Random(100).randbytes(MB // 200).hex()
    wide.on("Written")(lambda row, event: {name: f"{name}{body}" for name in names})
    await write(
        database.engine, [("s", "Written", {"key": f"k{n}", "text": "x"}) for n in range(rows)]
    )
    async with built(database, wide, live=True) as connection:
        known = await generations.of_projection(connection, "texts")
        # Each row differs in each column, and none is what its events say.
        altered = ", ".join(f"{name} = {name} || '!'" for name in names)
        await connection.execute(text(f"UPDATE {known[-1].schema_name}.texts SET {altered}"))
        tracemalloc.start()
        diff = await verify(
            connection,
            wide,
            shadow=known[-1],
            live=known[0],
            live_table_schema="public",
            position=UPTO,
        )
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (diff.changed, diff.folded_wrong, diff.folded_again) == (rows, rows, rows)
    assert diff.samples
    assert diff.wrong
    assert len(diff.model_dump_json()) < 70_000
    assert peak < 64 * MB, f"{peak / MB:.0f} MB at most"


@pytest.mark.parametrize("make", [texts, by_function])
async def test_bytes_end_it(database: Database, make: Any) -> None:
    projection = make()
    await write_large(database, keys=8, each=2, size=10_000)
    async with built(database, projection) as connection:
        checked = await check(connection, projection, 8, bytes=50_000)
        if make is texts:
            assert (checked.folded, checked.wrong.total()) == (2, 0)
            assert checked.note == "6 keys were not folded again: events too large."
        else:
            assert checked.folded == 0
            assert "the events are too large" in str(checked.note)


async def test_a_small_key_after_a_large_one_is_folded(database: Database) -> None:
    projection = texts()
    await write_large(database, keys=1, each=3, size=100_000)
    await write(
        database.engine, [("t", "Written", {"key": f"k{n}", "text": "x"}) for n in range(2, 9)]
    )
    async with built(database, projection) as connection:
        checked = await check(connection, projection, 8, bytes=90_000)
    assert (checked.folded, checked.wrong.total()) == (7, 0)
    assert checked.note == "1 key was not folded again: events too large."


async def test_rows_of_a_function_end_it(database: Database) -> None:
    projection = by_function()
    await write_large(database, keys=8, each=1, size=10_000)
    async with built(database, projection) as connection:
        checked = await check(connection, projection, 8, bytes_of_rows=30_000)
    assert checked.folded == 0
    assert "the rows are too large" in str(checked.note)


@pytest.mark.parametrize("make", [texts, by_function])
async def test_time_ends_it(database: Database, make: Any) -> None:
    projection = make()
    quick = projection.handlers["Written"]
    await write(
        database.engine, [("t", "Written", {"key": f"k{n}", "text": "x"}) for n in range(1, 31)]
    )
    async with built(database, projection) as connection:

        def slow(row: Row | None, event: Event) -> Row | None:
            sleep(0.02)
            after: Row | None = quick(row, event)
            return after

        projection.handlers["Written"] = slow
        checked = await check(connection, projection, 30, seconds=0.3)
    assert checked.folded < 30
    assert checked.wrong.total() == 0
    assert "there was no time" in str(checked.note)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 6), st.sampled_from([1, 10, 1000, 30_000])),
        min_size=1,
        max_size=40,
    ),
    bound=st.sampled_from([1000, 40_000, 200_000, 10**9]),
    events=st.sampled_from([1, 5, 20, 10**6]),
)
async def test_whatever_is_folded_is_right_and_the_rest_is_counted(
    database: Database, sizes: list[tuple[int, int]], bound: int, events: int
) -> None:
    projection = texts()
    letters = Random(len(sizes))
    async with database.engine.begin() as connection:
        await connection.execute(text("TRUNCATE refold.events, refold.generations CASCADE"))
        await connection.execute(text("DROP SCHEMA IF EXISTS refold_texts_g1 CASCADE"))
    await write(
        database.engine,
        [
            ("s", "Written", {"key": f"k{key}", "text": letters.choice("abc") * size})
            for key, size in sizes
        ],
    )
    keys = {key for key, _ in sizes}
    async with built(database, projection) as connection:
        checked = await check(connection, projection, 6, bytes=bound, events=events)
        assert checked.wrong.total() == 0
        left_out = [int(word) for word in str(checked.note).split() if word.isdigit()]
        assert checked.folded + sum(left_out) == 6
        assert checked.folded >= 6 - len(keys), "a key without events costs nothing"
        if bound == 10**9 and events == 10**6:
            assert checked.note is None
