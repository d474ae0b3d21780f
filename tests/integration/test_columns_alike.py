"""What a handler's value is settled to is what PostgreSQL gives back after storing it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address, ip_interface
from json import dumps, loads
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    ARRAY,
    CHAR,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB, Range
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.columns import settle_for
from refold.projection.declaration import Row
from refold.runtime.database import raw
from refold.stack.postgres import EmbeddedPostgres
from refold.store.tables.rows import RowStore
from tests.support.columns import NEEDED, SETTLES, Euros, Mood, columns, fitting, handlers_rows
from tests.support.databases import Database, drop_database, make_database

TABLE = Table("all types", MetaData(schema="public"), *columns())
TABLE.append_column(Column("id", BigInteger, primary_key=True))


def settled_moods() -> list[Any]:
    """The members, as rows hold them."""
    settle = settle_for(Column("mood", Enum(Mood, native_enum=False)))
    return [settle(member) for member in Mood]


alike = settings(
    max_examples=12,
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


@pytest.fixture(scope="module")
async def database(template: EmbeddedPostgres) -> AsyncIterator[Database]:
    """With a table of all types."""
    made = await make_database(template)
    async with made.engine.begin() as connection:
        for needed in NEEDED:
            await connection.execute(text(needed))
        await connection.run_sync(TABLE.metadata.create_all)
    yield made
    await drop_database(template, made)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    """What is done on it is undone: no test commits."""
    async with database.engine.connect() as connection:
        yield connection


def settled(key: int, values: Row) -> Row:
    """The row as it is stored; what its column cannot hold is left out."""
    return {
        **{name: SETTLES[name](value) for name, value in fitting(values).items()},
        "id": key,
    }


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
            assert exactly(settle(loaded[key][name])) == exactly(loaded[key][name]), name


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
    row = {**settled(1, dict.fromkeys(SETTLES)), "exact": exact, "float": 0.1, "bigint": 2**62 + 1}
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


async def test_an_upsert_writes_what_postgresql_takes_for_equal(
    connection: AsyncConnection,
) -> None:
    kinds: list[Any] = [Numeric(), JSONB(), ARRAY(Numeric), postgresql.NUMRANGE(), JSON()]
    table = Table("scales", MetaData(schema="public"), Column("id", Integer, primary_key=True))
    for i, kind in enumerate(kinds):
        table.append_column(Column(f"c{i}", kind))
    await connection.run_sync(table.metadata.create_all)
    store = RowStore(table)
    for zeros in ("", "0"):
        one, long = Decimal(f"1.5{zeros}"), Decimal(f"0.1234567890123456789{zeros}")
        row = {"id": 1, "c0": one, "c1": [long], "c2": [one], "c3": Range(one, None), "c4": [long]}
        await store.upsert(connection, [row])
        assert_same((await store.read(connection, [1]))[1], row)


KEYS: dict[str, tuple[Any, list[Any]]] = {
    "numeric": (Numeric(9, 2), [Decimal("1.50"), Decimal("-2.00")]),
    "date": (Date(), [date.max, date.min]),
    "aware": (DateTime(timezone=True), [datetime.max.replace(tzinfo=UTC)]),
    "enum": (Enum(Mood, native_enum=False), [*settled_moods()]),
    "uuid": (Uuid(), [UUID(int=1)]),
    "uuid_text": (Uuid(as_uuid=False), [str(UUID(int=1))]),
    "bytes": (LargeBinary(), [b"\x00", b""]),
    "inet": (postgresql.INET(), [ip_address("::1"), ip_interface("10.0.0.1/8")]),
    "range": (postgresql.DATERANGE(), [Range(date(2026, 1, 1), None), Range(empty=True)]),
    "interval": (Interval(), [timedelta(days=-1, seconds=1)]),
    "char": (CHAR(3), ["a  "]),
    "boolean": (Boolean(), [True, False]),
    "euros": (Euros(), [Decimal("1.25")]),
    "bit": (postgresql.BIT(3), ["010"]),
}


@pytest.mark.parametrize("name", KEYS)
async def test_rows_are_found_by_keys_of_a_type(connection: AsyncConnection, name: str) -> None:
    kind, keys = KEYS[name]
    table = Table(
        "keyed", MetaData(schema="public"), Column("id", kind, primary_key=True), Column("n", Text)
    )
    await connection.run_sync(table.metadata.create_all)
    store = RowStore(table)
    rows = {key: {"id": key, "n": repr(key)} for key in keys}
    await store.load(await raw(connection), list(rows.values()))
    await store.upsert(connection, list(rows.values()))
    assert await store.read(connection, keys) == rows
    await store.delete_others(connection, None, keys[0], keys)
    await store.delete(connection, keys)
    assert await store.read(connection, keys) == {}
