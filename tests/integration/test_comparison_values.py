"""Values that readers take for the same are no difference, however they are written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from sqlalchemy import Column, Text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.messages.run.diff import ColumnDiff
from refold.stack.postgres import EmbeddedPostgres
from tests.support.comparing import LIVE, SHADOW, by_sql, compared, fill, projection_of, snapshot
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


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        (("numeric", "numeric"), ("1.5", "1.50")),
        (("numeric", "numeric"), ("'NaN'", "'NaN'")),
        (("jsonb", "jsonb"), ("""'{"a": 1, "b": 1.5}'""", """'{"b": 1.50, "a": 1}'""")),
        (("json", "json"), ("""'{"a": 1, "b": 1.5}'""", """'{"b":1.50,"a":1}'""")),
        (("json", "json"), (r"""'["\u0000"]'""", r"""'["\u0000"]'""")),
        (("json", "json"), (r"""'["\ud800"]'""", r"""'["\ud800"]'""")),
        (("json[]", "json[]"), ("""ARRAY['{"a":1}']::json[]""", """ARRAY['{"a":1}']::json[]""")),
        (("float8", "float8"), ("'-0.0'", "'0.0'")),
        (("float8", "float8"), ("'NaN'", "'NaN'")),
        (
            ("timestamptz", "timestamptz"),
            ("'2026-01-01 12:00+00'", "'2026-01-01 21:00+09'"),
        ),
        (("char(4)", "char(4)"), ("'ab'", "'ab  '")),
        (("box", "box"), ("'(1,1),(0,0)'", "'(1,1),(0,0)'")),
        (("point", "point"), ("'(1,1)'", "'(1,1)'")),
        (("int4range", "int4range"), ("'[1,3]'", "'[1,4)'")),
        (("polygon", "polygon"), ("'((0,0),(1,1))'", "'((0,0),(1,1))'")),
        (("integer", "integer"), ("NULL", "NULL")),
        # of another type
        (("integer", "bigint"), ("7", "7")),
        (("integer", "numeric(9,2)"), ("7", "7")),
        (("real", "double precision"), ("0.1", "0.1")),
        (("double precision", "numeric"), ("'-0.0'", "0")),
        (("double precision", "numeric"), ("'NaN'", "'NaN'")),
        (("double precision", "numeric(5,3)"), ("0.1", "0.1")),
        (("varchar(5)", "text"), ("'ab '", "'ab '")),
        (("char(4)", "text"), ("'ab'", "'ab'")),
        (("char(4)", "char(8)"), ("'ab'", "'ab'")),
        (("text", "uuid"), (f"'{UUID(int=5)}'", f"'{UUID(int=5)}'")),
        (("json", "jsonb"), ("""'{"a":1,"b":2}'""", """'{"b":2,"a":1}'""")),
        (("integer[]", "bigint[]"), ("'{1,2}'", "'{1,2}'")),
        (("date", "timestamptz"), ("'2026-01-01'", "'2026-01-01 00:00+00'")),
        (("timestamp", "timestamptz"), ("'2026-01-01 12:00'", "'2026-01-01 12:00+00'")),
        (('text COLLATE "C"', "text"), ("'a'", "'a'")),
        (("integer", "text"), ("NULL", "NULL")),
    ],
)
async def test_another_way_of_writing_is_no_difference(
    connection: AsyncConnection, columns: tuple[str, str], values: tuple[str, str]
) -> None:
    found = await by_sql(connection, columns, values)
    assert (found.added, found.removed, found.changed) == (0, 0, 0)


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        (("integer", "integer"), ("1", "NULL")),
        (("integer", "integer"), ("NULL", "1")),
        (("integer", "text"), ("1", "'2'")),
        (("numeric", "numeric"), ("1.5", "1.51")),
        (("integer", "numeric"), ("1", "1.01")),
        (("double precision", "numeric"), ("'Infinity'", "'NaN'")),
        (("text", "text"), ("'ab'", "'ab '")),
        (("jsonb", "jsonb"), ("'null'", "NULL")),
        (("json", "json"), ("'[1, 2]'", "'[2, 1]'")),
        (("json", "json"), (r"""'["\u0000"]'""", r"""'["\u0001"]'""")),
        (("timestamp", "timestamptz"), ("'2026-01-01 12:00'", "'2026-01-01 12:00+01'")),
        # of the same area, which is what makes boxes equal to PostgreSQL
        (("box", "box"), ("'(1,1),(0,0)'", "'(2,2),(1,1)'")),
        (("bytea", "bytea"), (r"'\x00'", r"'\x01'")),
    ],
)
async def test_a_difference_is_seen(
    connection: AsyncConnection, columns: tuple[str, str], values: tuple[str, str]
) -> None:
    found = await by_sql(connection, columns, values)
    assert (found.added, found.removed, found.changed) == (0, 0, 1)
    assert found.columns == [ColumnDiff(column="v", rows=1)]


async def test_types_of_ones_own_are_compared(connection: AsyncConnection) -> None:
    for statement in (
        "CREATE TYPE refold.mood AS ENUM ('sad', 'glad')",
        "CREATE DOMAIN refold.below AS numeric",
        "CREATE DOMAIN refold.price AS refold.below",
        "CREATE TYPE refold.pair AS (one json, other integer)",
    ):
        await connection.exec_driver_sql(statement)
    same = [
        (("refold.mood", "refold.mood"), ("'sad'", "'sad'")),
        (("refold.mood", "text"), ("'sad'", "'sad'")),
        (("refold.price", "refold.price"), ("1.5", "1.50")),
        (("refold.price", "double precision"), ("1.50", "1.5")),
        (("refold.pair", "refold.pair"), ("ROW('1', 2)", "ROW('1', 2)")),
    ]
    other = [
        (("refold.mood", "refold.mood"), ("'sad'", "'glad'")),
        (("refold.pair", "refold.pair"), ("ROW('1', 2)", "ROW('1', 3)")),
    ]
    for columns, values in same:
        assert (await by_sql(connection, columns, values)).changed == 0, columns
    for columns, values in other:
        assert (await by_sql(connection, columns, values)).changed == 1, columns


async def test_text_of_two_collations_is_compared(connection: AsyncConnection) -> None:
    for schema, collation in ((LIVE, "C"), (SHADOW, "POSIX")):
        made = projection_of(Column("id", Text(collation=collation), primary_key=True))
        await fill(connection, made, schema, [{"id": "a"}, {"id": schema}])
    found = await compared(connection, made)
    assert (found.added, found.removed, found.unchanged) == (1, 1, 1)
