"""Many rows put in place by one statement are read back as they are, by either way of reading."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    ARRAY,
    CHAR,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
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
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.columns import settle_for
from refold.store.tables.many import at_once
from refold.store.tables.refused_row import refused_row
from refold.store.tables.rows import RowStore
from tests.support.databases import Database

PLAIN = Table(
    "plain",
    MetaData(schema="public"),
    Column("region", Text, primary_key=True),
    Column("id", BigInteger, primary_key=True),
    Column("text", Text),
    Column("short", String(12, collation="C")),
    Column("small", SmallInteger),
    Column("amount", Numeric(14, 2)),
    Column("exact", Numeric),
    Column("truth", Boolean),
)
OTHER = Table(
    "other",
    MetaData(schema="public"),
    Column("id", Uuid, primary_key=True),
    Column("json", JSONB),
    Column("day", Date),
    Column("at", DateTime(timezone=True)),
    Column("span", Interval),
    Column("bytes", LargeBinary),
    Column("ratio", Float),
    Column("mood", Enum("sad", "so-so", name="mood", native_enum=False)),
)

texts = st.text(st.sampled_from("\\\t\n\r\"'{}, NULL.a Ä\U0001f600\x01"), max_size=12)
plain_rows = st.lists(
    st.fixed_dictionaries(
        {
            "region": texts,
            "text": st.none() | texts | st.just("NULL"),
            "short": st.none() | texts,
            "small": st.none() | st.integers(-(2**15), 2**15 - 1),
            "amount": st.none() | st.decimals(-(10**11), 10**11, places=3),
            "exact": st.none() | st.decimals(allow_nan=False, allow_infinity=False),
            "truth": st.none() | st.booleans(),
        }
    ),
    min_size=3,
    max_size=12,
)
_NONE = dict.fromkeys(["text", "short", "small", "amount", "exact", "truth"])


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    async with database.engine.connect() as connection:
        yield connection


async def put_and_read(
    connection: AsyncConnection, table: Table, *versions: list[dict[str, Any]]
) -> None:
    """Puts each version of the rows in place, and compares what is there with the last."""
    settles = {str(c.name): settle_for(c) for c in table.columns}
    store = RowStore(table)
    assert store._at_once is not None
    async with connection.begin() as transaction:
        await connection.run_sync(table.create)
        expected = {}
        for made in versions:
            rows = [{name: settle(row[name]) for name, settle in settles.items()} for row in made]
            await store.upsert_at_once(connection, rows)
            expected = {store.key_of(row): row for row in rows}
        quick = await store.read(connection, list(expected))
        store._by_keys = None
        usual = await store.read(connection, list(expected))
        await transaction.rollback()
    for found in (quick, usual):
        assert {key: _exact(row) for key, row in found.items()} == {
            key: _exact(row) for key, row in expected.items()
        }


def _exact(row: dict[str, Any]) -> dict[str, Any]:
    return {name: (type(value), str(value)) for name, value in row.items()}


@settings(
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(plain_rows, plain_rows)
@example([{**_NONE, "region": text} for text in ("", '"', "\\", "{}", ",", "NULL")], [])
@example([{**_NONE, "region": "", "exact": Decimal(n)} for n in ("1E+30", "1E-30", "0.0")], [])
async def test_rows_are_read_back(
    connection: AsyncConnection, first: list[dict[str, Any]], then: list[dict[str, Any]]
) -> None:
    rows = [{**row, "id": number} for number, row in enumerate(first)]
    changed = [
        {**row, **after, "region": row["region"]} for row, after in zip(rows, then, strict=False)
    ]
    await put_and_read(connection, PLAIN, rows, changed)


async def test_rows_of_other_types_are_read_back(connection: AsyncConnection) -> None:
    rows = [
        {
            "id": UUID(int=number),
            "json": [{"a": None, "b": Decimal("1.50")}, [], ["x", None], None][number % 4],
            "day": [date(9999, 12, 31), date.min, None][number % 3],
            "at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
            "span": timedelta(days=-number, microseconds=1),
            "bytes": bytes([number, 0, 255]),
            "ratio": number / 3,
            "mood": ["sad", "so-so", None][number % 3],
        }
        for number in range(7)
    ]
    await put_and_read(connection, OTHER, rows, [{**row, "ratio": 0.5} for row in rows])


async def test_long_values_come_in_several_statements() -> None:
    store = RowStore(PLAIN)
    assert store._at_once is not None
    long = "x" * (at_once._BYTES // 2)
    rows = [{**_NONE, "region": "r", "id": n, "text": long} for n in range(4)]
    assert len(list(store._at_once.statements(rows))) == 4
    short = [{**_NONE, "region": "r", "id": n} for n in range(2 * at_once._ROWS + 1)]
    assert len(list(store._at_once.statements(short))) == 3


@pytest.mark.parametrize(
    ("column", "value", "sqlstate"),
    [("short", "x" * 13, "22001"), ("small", 2**15, "22003"), ("id", None, "23502")],
)
async def test_what_does_not_fit_its_column_is_refused(
    connection: AsyncConnection, column: str, value: Any, sqlstate: str
) -> None:
    rows: list[dict[str, Any]] = [{**_NONE, "region": "r", "id": n} for n in range(5)]
    rows[3][column] = value
    async with connection.begin() as transaction:
        await connection.run_sync(PLAIN.create)
        with pytest.raises(asyncpg.PostgresError) as raised:
            await RowStore(PLAIN).upsert_at_once(connection, rows)
        refused = refused_row(raised.value)
        await transaction.rollback()
    assert refused is not None
    assert refused.sqlstate == sqlstate


@pytest.mark.parametrize(
    "column",
    [
        Column("id", CHAR(3), primary_key=True),
        Column("id", Text(collation="C"), primary_key=True),
        Column("list", ARRAY(Integer)),
    ],
)
def test_other_tables_are_written_row_by_row(column: Column[Any]) -> None:
    """PostgreSQL may take two of their keys for one, or the driver a value for a list of values."""
    others = [] if column.primary_key else [Column("id", Integer, primary_key=True)]
    assert RowStore(Table("some", MetaData(), column, *others))._at_once is None
