"""A key is the same in SQL and in Python, whatever an event holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.event import Event
from refold.projection.declaration import Projection
from refold.projection.keys.path import KeyPath
from refold.source.decoding import decoded
from refold.source.reader import in_key_order, read_events
from refold.store.schema import events
from tests.support.alike_keys import (
    EXAMPLES,
    MISFIT,
    Alike,
    Body,
    alike,
    bodies,
    in_python,
    logged,
    numerals,
    texts,
)
from tests.support.databases import Database

TYPES: list[Any] = [
    Text(),
    Text(collation="C"),
    String(3),
    String(36),
    Integer(),
    BigInteger(),
    SmallInteger(),
    Uuid(),
]
PATHS = [
    "stream_id",
    *["data.k", "data.k.0", "data.k.-1", "data.k.x", "data.k.x.1", "data.k.1.x", "data.é\"'%"],
    *["metadata.k", "metadata.k. 1", "metadata.k.+1", "metadata.k.00000000001"],
    *[
        "metadata.k.-2147483648",
        "metadata.k.99999999999999999999",
        "metadata.k.-0",
        "metadata.k.a,b",
    ],
]
KEYS = [
    KeyPath(path, Column(f"c{number}", kind))
    for number, (path, kind) in enumerate((path, kind) for path in PATHS for kind in TYPES)
]

PLAIN = Alike(KEYS)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    async with database.engine.connect() as connection:
        yield await connection.execution_options(isolation_level="AUTOCOMMIT")


async def test_chosen_values_have_the_same_key(connection: AsyncConnection) -> None:
    chosen: list[Body] = [
        (value if isinstance(value, str) else "s", {"k": value, "é\"'%": value}, {"k": [0, value]})
        for value in EXAMPLES
    ]
    await PLAIN.check(connection, chosen)


@alike
@given(st.lists(st.tuples(texts | numerals | st.uuids().map(str), bodies, bodies), max_size=40))
async def test_any_value_has_the_same_key(connection: AsyncConnection, made: list[Body]) -> None:
    await PLAIN.check(connection, made)


@pytest.mark.parametrize("kind", TYPES, ids=repr)
async def test_a_misfit_that_is_not_text_has_no_key_in_sql(
    connection: AsyncConnection, kind: Any
) -> None:
    path = KeyPath("data.k", Column("c", kind))
    await logged(connection, [("s", {"k": value}, {}) for value in EXAMPLES])
    statement = select(path.sql(events)).where(path.misfits(events))
    keys = list((await connection.execute(statement)).scalars())
    assert keys
    if not isinstance(kind, String):
        assert set(keys) == {None}


@alike
@given(
    st.lists(st.tuples(texts, st.fixed_dictionaries({"k": texts | numerals})), max_size=40),
    st.data(),
)
async def test_key_order_is_the_fold_of_each_key(
    connection: AsyncConnection, pairs: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    """Read in key order within bounds, each key comes once, whole, and in order of position."""
    columns = (Column("a", Text, primary_key=True), Column("b", Text, primary_key=True))
    projection = Projection(
        "p", table=Table("t", MetaData(), *columns), key=("stream_id", "data.k")
    )
    projection.on("T")(lambda row, event: {})
    made = await logged(connection, [(stream, body, {}) for stream, body in pairs])
    keys = sorted({key for event in made for key in projection.rows.keys_of(event)})
    cut = data.draw(st.sampled_from([None, *keys]))
    seen: list[tuple[Any, int]] = []
    for low, high in ((None, cut), (cut, None)) if cut is not None else ((None, None),):
        statement = in_key_order(projection, after=0, upto=10**6, low=low, high=high)
        read = await read_events(connection, statement)
        seen += [(projection.rows.keys_of(event)[0], event.position) for event in read]
    assert len(seen) == len(made)
    order = {key: number for number, (key, _) in enumerate(seen)}
    first = {key: number for number, (key, _) in reversed(list(enumerate(seen)))}
    for key in keys:
        positions = [position for other, position in seen if other == key]
        assert order[key] - first[key] + 1 == len(positions), "a key comes in one piece"
        assert positions == sorted(positions)


@pytest.mark.parametrize("kind", TYPES, ids=repr)
async def test_the_key_that_is_read_along_is_the_stored_key(
    connection: AsyncConnection, kind: Any
) -> None:
    table = Table("t", MetaData(), Column("c", kind, primary_key=True))
    projection = Projection("p", table=table, key="data.k")
    projection.on("T")(lambda row, event: {})
    path = KeyPath("data.k", Column("c", kind))
    chosen: list[Body] = [("s", {"k": value}, {}) for value in EXAMPLES]
    made = await logged(connection, chosen)
    fitting = [event for event in made if in_python(path, event) not in (None, MISFIT)]
    await logged(connection, [("s", event.data, {}) for event in fitting])
    statement = in_key_order(projection, after=0, upto=10**6, low=None, high=None)
    records = await connection.execute(statement)
    for *fields, key in decoded([record[0] for record in records]):
        event = Event(*fields)
        [expected] = projection.rows.keys_of(event)
        assert key == (str(expected) if isinstance(kind, Uuid) else expected)
