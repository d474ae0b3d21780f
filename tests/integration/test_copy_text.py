"""Rows that are written as COPY's text are read back as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Boolean, Column, MetaData, Numeric, String, Table, Text, Uuid
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.columns import settle_for
from refold.projection.columns.kinds import kind_of
from refold.runtime.database import raw
from refold.store.tables import copy_text
from refold.store.tables.copy_text import copy_text_of
from refold.store.tables.rows import RowStore
from tests.support.databases import Database

TABLE = Table(
    "plain",
    MetaData(schema="public"),
    Column("id", BigInteger, primary_key=True),
    Column("text", Text),
    Column("short", String(12, collation="C")),
    Column("amount", Numeric(14, 2)),
    Column("exact", Numeric),
    Column("truth", Boolean),
    Column("always", Text, nullable=False),
)
SETTLES = {str(c.name): settle_for(c) for c in TABLE.columns}

texts = st.text(st.sampled_from("\\\t\n\r\v\b\f\"'N.tn,a Ä\U0001f600\x01\x7f"), max_size=12)
rows_made = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | texts,
            "short": st.none() | texts,
            "amount": st.none() | st.decimals(-(10**11), 10**11, places=3),
            "exact": st.none() | st.decimals(allow_nan=False, allow_infinity=False),
            "truth": st.none() | st.booleans(),
            "always": texts,
        }
    ),
    max_size=12,
)
_NONE = dict.fromkeys(["text", "short", "amount", "exact", "truth"])


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    async with database.engine.connect() as connection:
        yield connection


@settings(
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows_made)
@example([{**_NONE, "always": text} for text in ("\\N", "\\.", "", "\\", "a\\\n", "\r\n", "\t")])
@example([{**_NONE, "always": "", "exact": Decimal(n)} for n in ("1E+30", "1E-30", "-0", "0.0")])
async def test_rows_are_read_back(connection: AsyncConnection, made: list[dict[str, Any]]) -> None:
    assert copy_text_of({str(c.name): kind_of(c) for c in TABLE.columns}) is not None
    rows = [
        {name: settle({**row, "id": number}[name]) for name, settle in SETTLES.items()}
        for number, row in enumerate(made)
    ]
    store = RowStore(TABLE)
    async with connection.begin() as transaction:
        await connection.run_sync(TABLE.create)
        await store.load(await raw(connection), rows)
        found = await store.read(connection, [*range(len(rows))])
        await transaction.rollback()
    assert len(found) == len(rows)
    for number, row in enumerate(rows):
        assert {n: (type(v), str(v)) for n, v in found[number].items()} == {
            n: (type(v), str(v)) for n, v in row.items()
        }


async def test_many_rows_come_in_pieces(connection: AsyncConnection) -> None:
    rows = [{"id": n, **_NONE, "always": f"{n}\t"} for n in range(2 * copy_text._AT_ONCE + 1)]
    store = RowStore(TABLE)
    async with connection.begin() as transaction:
        await connection.run_sync(TABLE.create)
        await store.load(await raw(connection), rows)
        found = await store.read(connection, [row["id"] for row in rows])
        await transaction.rollback()
    assert found == {row["id"]: row for row in rows}


def test_other_types_are_left_to_the_driver() -> None:
    assert copy_text_of({"id": kind_of(Column("id", Uuid))}) is None
