"""A key is the same in SQL and in Python, whatever an event holds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
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
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.event import Event
from refold.projection.declaration import Projection
from refold.projection.key import KeyDoesNotFit, KeyPath
from refold.runtime.database import compiled, raw
from refold.source.decoding import decoded
from refold.source.reader import in_key_order, read_events, read_window
from refold.store.schema import events
from tests.support.databases import Database

MISFIT = "a misfit"

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

EXAMPLES: list[Any] = [
    *["", " ", "a", "abc", "abcd", "äöü", "😀😀😀", "😀😀😀😀", "e\u0301e", "a\nb", "1\n", "\n1"],
    *["0", "-0", "+1", "007", " 1", "1 ", "1.0", "1e2", "-", "--1", "٣", "\uff11", "1_0", "0x1"],
    *["32767", "32768", "-32768", "-32769", "2147483647", "2147483648", "-2147483648"],
    *["9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"],
    *["0" * 19, "0" * 20, "9" * 40],
    *[0, -1, 32767, 32768, -32769, 2**31, -(2**31), 2**63, -(2**63), -(2**63) - 1, 2**64 - 1],
    *[2**64, 10**30, -(10**30), 0.0, -0.0, 1.0, 1.5, 1e2, 1e16, 1e19, 1e20, 1e300, 1e-7, -5e-324],
    *[True, False, None, [], {}, [1], {"x": 1}, [None, {"x": "a"}], {"x": [0, "b"]}, {"0": 1}],
    *["0f8fad5b-d9cb-469f-a165-70867728950e", "0F8FAD5B-D9CB-469F-A165-70867728950E"],
    *["0f8fad5bd9cb469fa16570867728950e", "{0f8fad5b-d9cb-469f-a165-70867728950e}"],
    *["0f8fad5b-d9cb-469f-a165-70867728950e\n", "0f8fad5b-d9cb-469f-a165-70867728950g"],
    *["0f8fad5b-d9cb-469f-a165-7086772895", "true", "null"],
]

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=6)
numerals = st.from_regex(r"\A[ +-]?[0-9]{1,21}[ .]?\Z")
whole = st.one_of(st.integers(-(2**70), 2**70), st.integers(-40_000, 40_000))
floats = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.one_of(
    st.sampled_from(EXAMPLES),
    texts,
    numerals,
    st.uuids().map(str),
    whole,
    floats,
    st.booleans(),
    st.none(),
)
fields = st.sampled_from(["x", "0", "-1", "1", "k", "a,b", "+1"])
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(fields, inner, max_size=3)
    ),
    max_leaves=5,
)
bodies = st.one_of(
    st.builds(lambda value, other: {"k": value, "é\"'%": other}, values, scalars), st.just({})
)

alike = settings(
    max_examples=30,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Body = tuple[str, dict[str, Any], dict[str, Any]]


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    async with database.engine.connect() as connection:
        yield await connection.execution_options(isolation_level="AUTOCOMMIT")


async def logged(connection: AsyncConnection, bodies: Sequence[Body]) -> list[Event]:
    """These bodies as the only events of the log, as they are read from it."""
    await connection.execute(text("TRUNCATE refold.events RESTART IDENTITY"))
    versions = count(1)
    await (await raw(connection)).executemany(
        "INSERT INTO refold.events (stream_id, version, type, data, metadata) "
        "VALUES ($1, $2, 'T', $3, $4)",
        [(s, next(versions), json.dumps(data), json.dumps(meta)) for s, data, meta in bodies],
    )
    return await read_window(connection, types=["T"], after=0, upto=10**6, limit=10**6)


def in_python(path: KeyPath, event: Event) -> Any:
    try:
        return path.of(event)
    except KeyDoesNotFit:
        return MISFIT


def plain(value: Any) -> Any:
    """The driver has a UUID of its own, which equals Python's."""
    return UUID(int=value.int) if isinstance(value, UUID) else value


# Compiled once: it runs for each example.
IN_SQL = compiled(
    select(
        *[path.sql(events).label(f"key{number}") for number, path in enumerate(KEYS)],
        *[path.misfits(events).label(f"misfit{number}") for number, path in enumerate(KEYS)],
    ).order_by(events.c.position)
)


async def check_alike(connection: AsyncConnection, bodies: Sequence[Body]) -> None:
    made = await logged(connection, bodies)
    sql, arguments = IN_SQL
    records = await (await raw(connection)).fetch(sql, *arguments)
    for event, record in zip(made, records, strict=True):
        for number, path in enumerate(KEYS):
            value = MISFIT if record[f"misfit{number}"] else plain(record[f"key{number}"])
            expected = in_python(path, event)
            where = (path.path, path.column.type, event)
            assert (value, type(value)) == (expected, type(expected)), where


async def test_chosen_values_have_the_same_key(connection: AsyncConnection) -> None:
    bodies = [
        (value if isinstance(value, str) else "s", {"k": value, "é\"'%": value}, {"k": [0, value]})
        for value in EXAMPLES
    ]
    await check_alike(connection, bodies)


@alike
@given(st.lists(st.tuples(texts | numerals | st.uuids().map(str), bodies, bodies), max_size=40))
async def test_any_value_has_the_same_key(connection: AsyncConnection, bodies: list[Body]) -> None:
    await check_alike(connection, bodies)


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
    bodies: list[Body] = [("s", {"k": value}, {}) for value in EXAMPLES]
    made = await logged(connection, bodies)
    fitting = [event for event in made if in_python(path, event) not in (None, MISFIT)]
    await logged(connection, [("s", event.data, {}) for event in fitting])
    statement = in_key_order(projection, after=0, upto=10**6, low=None, high=None)
    records = await connection.execute(statement)
    for *fields, key in decoded([record[0] for record in records]):
        event = Event(*fields)
        [expected] = projection.rows.keys_of(event)
        assert key == (str(expected) if isinstance(kind, Uuid) else expected)
