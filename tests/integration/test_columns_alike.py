"""What a handler's value is settled to is what PostgreSQL gives back after storing it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from json import dumps, loads
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
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
    Double,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    Time,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.columns import WrongValue, settle_for
from refold.database import raw
from refold.projection import Row
from refold.store.rows import RowStore
from tests.support.databases import Database

ZONES = st.sampled_from(
    [UTC, timezone(timedelta(hours=9)), timezone(-timedelta(hours=3, minutes=30))]
)
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8)
naive = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1))
aware = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=ZONES)
numbers = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-100, max_value=100, places=6),
    st.sampled_from(["-0.00", "0.005", "-0.005", "1E+3", "-0E+5", "9.5", "99.995"]).map(Decimal),
    st.floats(-1e12, 1e12),
    st.integers(-(10**12), 10**12),
)
floats = st.floats() | st.integers(-(2**70), 2**70)
# As large as the driver of JSON keeps a float or an integer apart.
in_json = st.floats(-(2.0**62), 2.0**62) | st.integers(-(2**63), 2**63 - 1)
flat = st.one_of(st.none(), st.booleans(), in_json, texts)
nested = flat | st.lists(flat, max_size=2) | st.dictionaries(texts, flat, max_size=3)
json = nested | st.lists(nested, max_size=2) | st.dictionaries(texts, nested, max_size=4)

KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "text": (Text(), texts),
    "Größe (cm)": (String(5), texts),
    "char": (CHAR(4), texts),
    "smallint": (SmallInteger(), st.integers(-(2**15), 2**15 - 1)),
    "integer": (Integer(), st.integers(-(2**31), 2**31 - 1)),
    "bigint": (BigInteger(), st.integers(-(2**63), 2**63 - 1)),
    "price": (Numeric(14, 2), numbers),
    "whole": (Numeric(5), numbers),
    "fraction": (Numeric(3, 5), numbers),
    "thousands": (Numeric(6, -3), numbers),
    "exact": (Numeric(), numbers),
    "as_float": (Numeric(14, 2, asdecimal=False), numbers),
    "float": (Float(), floats),
    "double": (Double(), floats),
    "real": (REAL(), floats),
    "float24": (Float(24), floats),
    "naive": (DateTime(), naive),
    "aware": (DateTime(timezone=True), aware),
    "seconds": (TIMESTAMP(precision=0), naive),
    "millis": (TIMESTAMP(timezone=True, precision=3), aware),
    "date": (Date(), st.dates()),
    "time": (Time(), st.times()),
    "interval": (Interval(), st.timedeltas(-timedelta(10**5), timedelta(10**5))),
    "boolean": (Boolean(), st.booleans()),
    "uuid": (Uuid(), st.uuids()),
    "bytes": (LargeBinary(), st.binary(max_size=8)),
    "json": (JSON(), json),
    "jsonb": (JSONB(), json),
    "array": (ARRAY(Integer), st.lists(st.integers(-5, 5), max_size=3)),
}
TABLE = Table(
    "all types",
    MetaData(schema="public"),
    Column("id", BigInteger, primary_key=True),
    *[Column(name, kind) for name, (kind, _) in KINDS.items()],
)
SETTLES = {name: settle_for(TABLE.c[name]) for name in KINDS}
handlers_rows = st.fixed_dictionaries(
    {name: st.none() | values for name, (_, values) in KINDS.items()}
)
alike = settings(
    max_examples=30,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # shrinking rows of so many columns takes minutes
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    async with database.engine.connect() as connection:
        await connection.run_sync(TABLE.metadata.create_all)
        await connection.commit()
        yield connection


def settled(key: int, values: Row) -> Row:
    """The row as it is stored; what its column cannot hold is left out."""
    row: Row = {"id": key}
    for name, value in values.items():
        try:
            row[name] = SETTLES[name](value)
        except WrongValue:
            row[name] = None
    return row


def exactly(value: Any) -> Any:
    """The value with all that `==` does not see."""
    if isinstance(value, dict):
        return [(name, exactly(inner)) for name, inner in value.items()]
    if isinstance(value, list):
        return [exactly(inner) for inner in value]
    if isinstance(value, float):
        return "nan" if math.isnan(value) else (float, value, math.copysign(1, value))
    return (type(value), value, str(value))


def assert_same(actual: Row, expected: Row) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert exactly(actual[name]) == exactly(value), name


@alike
@given(st.lists(handlers_rows, min_size=1, max_size=10))
async def test_a_settled_row_is_what_is_read_back(
    connection: AsyncConnection, made: list[Row]
) -> None:
    store = RowStore(TABLE)
    rows = [settled(key, values) for key, values in enumerate(made)]
    keys = list(range(len(rows)))
    async with connection.begin() as transaction:
        assert await store.read(connection, keys) == {}
        await store.load(await raw(connection), rows)
        loaded = await store.read(connection, keys)
        # The rows in another order, so that there is something to put in their place.
        await store.upsert(connection, [{**row, "id": key} for key, row in enumerate(rows[::-1])])
        upserted = await store.read(connection, keys)
        await transaction.rollback()
    for key in keys:
        assert_same(loaded[key], rows[key])
        assert_same(upserted[key], {**rows[::-1][key], "id": key})
        for name, settle in SETTLES.items():
            assert exactly(settle(loaded[key][name])) == exactly(loaded[key][name]), "settled"


@alike
@given(handlers_rows)
async def test_a_row_that_is_frozen_and_thawed_is_the_same(
    connection: AsyncConnection, values: Row
) -> None:
    store, row = RowStore(TABLE), settled(2**63 - 1, values)
    async with connection.begin():
        thawed = store.thaw(store.freeze(row))
    assert thawed is not None
    assert_same(thawed, row)


async def test_freezing_keeps_every_digit(connection: AsyncConnection) -> None:
    store = RowStore(TABLE)
    exact = Decimal("12345678901234567890.1234567890")
    row = {**settled(1, dict.fromkeys(KINDS)), "exact": exact, "float": 0.1, "bigint": 2**62 + 1}
    frozen = loads(dumps(store.freeze(row)))  # as in refold.partitions
    thawed = store.thaw(frozen)
    assert thawed is not None
    assert_same(thawed, row)


async def test_no_row_is_frozen_as_no_row(connection: AsyncConnection) -> None:
    store = RowStore(TABLE)
    assert store.freeze(None) is None
    assert store.thaw(None) is None


async def test_a_table_of_its_key_alone_can_be_written(connection: AsyncConnection) -> None:
    table = Table("only_key", MetaData(schema="public"), Column("id", Text, primary_key=True))
    await connection.run_sync(table.metadata.create_all)
    store = RowStore(table)
    await store.load(await raw(connection), [{"id": "a"}])
    await store.upsert(connection, [{"id": "a"}, {"id": "b"}])
    await store.delete(connection, ["a", "missing"])
    assert await store.read(connection, ["a", "b"]) == {"b": {"id": "b"}}


async def test_others_are_deleted_within_bounds_of_a_composite_key(
    connection: AsyncConnection,
) -> None:
    shop, sku = Column("shop", Text, primary_key=True), Column("sku", Uuid, primary_key=True)
    table = Table("pairs", MetaData(schema="public"), shop, sku)
    await connection.run_sync(table.metadata.create_all)
    store = RowStore(table)
    from uuid import UUID

    keys = [(shop, UUID(int=number)) for shop in ("a", "b") for number in range(3)]
    await store.load(
        await raw(connection), [dict(zip(("shop", "sku"), key, strict=True)) for key in keys]
    )
    await store.delete_others(connection, keys[0], keys[4], [keys[2]])
    assert set(await store.read(connection, keys)) == {keys[0], keys[2], keys[5]}
    await store.delete_others(connection, None, None, [])
    assert await store.read(connection, keys) == {}


async def test_an_upsert_leaves_equal_rows_alone(connection: AsyncConnection) -> None:
    table = Table(
        "some",
        MetaData(schema="public"),
        Column("id", Integer, primary_key=True),
        Column("n", JSONB),
    )
    await connection.run_sync(table.metadata.create_all)
    store = RowStore(table)
    version = text("SELECT xmin, ctid FROM public.some ORDER BY id")
    await store.upsert(connection, [{"id": 1, "n": [1]}, {"id": 2, "n": None}])
    before = (await connection.execute(version)).all()
    await store.upsert(connection, [{"id": 1, "n": [1]}, {"id": 2, "n": None}])
    assert (await connection.execute(version)).all() == before
    await store.upsert(connection, [{"id": 1, "n": [2]}])
    assert await store.read(connection, [1, 2]) == {
        1: {"id": 1, "n": [2]},
        2: {"id": 2, "n": None},
    }
