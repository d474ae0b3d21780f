"""Which columns two tables have in common, and how their values compare.

Values are the same when readers take them for the same: 1.5 and 1.50, JSON fields in another order,
0.0 and -0.0, one instant in two time zones. Text is compared byte by byte, even if its collation
takes two texts for equal: readers see the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.store.tables.read_models import quoted


class Place(NamedTuple):
    """Where a table is."""

    schema: str
    table: str


@dataclass(frozen=True)
class TableColumn:
    """A column as PostgreSQL's catalogue has it.

    Attributes:
        name: Its name.
        type: Its type as SQL writes it, with modifiers.
        base: The type's oid; for a domain, that of the type below it.
        builtin: The name of that type in pg_catalog; empty for any other.
        category: PostgreSQL's category of types, such as ``S`` for text.
        equality: Whether ``=`` means the same value for that type.
        collatable: Whether comparisons ask for a collation.
        in_key: Whether it is part of the primary key.
    """

    name: str
    type: str
    base: int
    builtin: str
    category: str
    equality: bool
    collatable: bool
    in_key: bool


# A default operator class for btree is what tells a type's equality from one in name only (two
# boxes are "=" when their areas are). Arrays have it if their elements do, of any depth.
_COLUMNS = text(
    """
    WITH RECURSIVE column_types AS (
        SELECT attnum, attname, atttypid, atttypmod, attcollation,
               EXISTS (SELECT FROM pg_index
                       WHERE indrelid = attrelid AND indisprimary AND attnum = ANY (indkey)
               ) AS in_key
        FROM pg_attribute
        WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped
    ), resolved AS (
        SELECT DISTINCT t.oid AS declared, t.oid, t.typtype, t.typbasetype
        FROM column_types JOIN pg_type t ON t.oid = atttypid
        UNION ALL
        SELECT r.declared, t.oid, t.typtype, t.typbasetype
        FROM resolved r JOIN pg_type t ON t.oid = r.typbasetype AND r.typtype = 'd'
    ), equal AS (
        SELECT opcintype AS oid FROM pg_opclass JOIN pg_am ON pg_am.oid = opcmethod
        WHERE amname = 'btree' AND opcdefault
    )
    SELECT c.attname::text AS name,
           format_type(c.atttypid, c.atttypmod) AS type,
           b.oid::bigint AS base,
           CASE WHEN b.typnamespace = 'pg_catalog'::regnamespace THEN b.typname ELSE '' END::text
               AS builtin,
           b.typcategory::text AS category,
           b.oid IN (TABLE equal) OR b.typtype IN ('e', 'r', 'm')
               OR b.typcategory = 'A' AND (e.oid IN (TABLE equal) OR e.typtype IN ('e', 'r', 'm')
                                           OR e.typcategory = 'S') AS equality,
           c.attcollation <> 0 AS collatable,
           c.in_key
    FROM column_types c
    JOIN resolved r ON r.declared = c.atttypid AND r.typtype <> 'd'
    JOIN pg_type b ON b.oid = r.oid
    LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A'
    ORDER BY c.attnum
    """
)


async def columns_of(connection: AsyncConnection, place: Place) -> list[TableColumn]:
    """A table's columns, in its order; empty when there is no such table."""
    rows = await connection.execute(_COLUMNS, {"name": quoted(*place)})
    return [TableColumn(**row._mapping) for row in rows]


_INTEGERS = ("int2", "int4", "int8")
_FLOATS = ("float4", "float8")
_NUMBERS = (*_INTEGERS, *_FLOATS, "numeric")
_JSON = ("json", "jsonb")
_TIMES = ("date", "timestamp", "timestamptz")


@dataclass(frozen=True)
class Shared:
    """A column that both tables have."""

    live: TableColumn
    shadow: TableColumn

    @property
    def name(self) -> str:
        """Its name."""
        return self.live.name

    @property
    def retyped(self) -> str | None:
        """How its type differs, for people; None if it does not."""
        if self.live.type == self.shadow.type:
            return None
        return f"{self.name}: {self.live.type} → {self.shadow.type}"

    def sides(self, live: str, shadow: str) -> tuple[str, str]:
        """SQL for the two values, of one type that has an equality.

        Args:
            live: The live table's alias.
            shadow: The new table's alias.
        """
        names = f"{live}.{quoted(self.name)}", f"{shadow}.{quoted(self.name)}"
        left, right = (
            self._common(column, name)
            for column, name in zip((self.live, self.shadow), names, strict=True)
        )
        return left, right

    def _common(self, column: TableColumn, name: str) -> str:
        kinds = {self.live.builtin, self.shadow.builtin}
        if self.live.category == self.shadow.category == "S":
            # Padding counts for neither side once one of them pads.
            kind = "bpchar" if "bpchar" in kinds else "text"
            return f'{name}::{kind} COLLATE "C"'
        if kinds <= {*_JSON}:
            return name if column.builtin == "jsonb" else _as_jsonb(name)
        if self.live.base == self.shadow.base and column.equality:
            return f'{name} COLLATE "C"' if column.collatable else name
        if kinds <= {*_NUMBERS}:
            # By way of text: 0.1 of single precision is 0.1, not 0.10000000149011612.
            return f"{name}::text::numeric" if column.builtin in _FLOATS else f"{name}::numeric"
        if kinds <= {*_TIMES}:
            zoned = column.builtin == "timestamptz"
            return f"({name} AT TIME ZONE 'UTC')" if zoned else f"{name}::timestamp"
        return f'{name}::text COLLATE "C"'


def _as_jsonb(name: str) -> str:
    # json takes what jsonb refuses with an error: NUL and halves of surrogate pairs.
    refused = rf"{name}::text ~* '\\u(0000|d[89a-f])'"
    return f"CASE WHEN {refused} THEN to_jsonb({name}::text) ELSE {name}::jsonb END"
