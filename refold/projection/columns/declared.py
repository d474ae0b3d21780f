"""What a projection's table declares about its columns, besides their types."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ARRAY, JSON, Column, Float, Numeric, Table, Time
from sqlalchemy.dialects.postgresql import NUMRANGE
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable

from refold.errors import InvalidProjection
from refold.projection.columns.decorated import DIALECT

_MOST_BYTES = 63
# Each table has columns of these names already.
_SYSTEM = frozenset(("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"))


def written_columns(table: Table) -> list[Column[Any]]:
    """The columns that handlers fill: all except those that PostgreSQL computes from others.

    Raises:
        InvalidProjection: A column's value would depend on when, or in what order, rows are
            written; or PostgreSQL has no such column.
    """
    for column in table.columns:
        _check_name("column", column.name)
        _check_value(column)
    _check_name("table", table.name)
    return [column for column in table.columns if column.computed is None]


def check_table(table: Table) -> None:
    """Refuses a table that PostgreSQL's SQL cannot declare.

    Raises:
        InvalidProjection: It cannot be declared; the message says why.
    """
    try:
        # Without foreign keys: the database alone may know the tables that they refer to.
        CreateTable(table, include_foreign_key_constraints=[]).compile(dialect=DIALECT)
    except SQLAlchemyError as error:
        raise InvalidProjection(
            f"table {table.name!r}: expected a table that PostgreSQL can create, got: {error}"
        ) from None


def scalar_default(column: Column[Any]) -> Any:
    """The value of a column that a handler leaves out; None when it has no default."""
    default: Any = column.default
    return None if default is None else default.arg


def _key_reason(kind: Any) -> str | None:
    """What is expected of a key's type; None where it is fine."""
    kind = kind._variant_mapping.get(DIALECT.name, kind)
    if isinstance(kind, (ARRAY, JSON)):
        return "a key that is one value"
    if isinstance(kind, Time) and kind.timezone:
        return "a key whose equality Python and PostgreSQL judge alike"
    if isinstance(kind, NUMRANGE) or (
        isinstance(kind, Numeric) and not isinstance(kind, Float) and kind.precision is None
    ):
        return "a key with a scale: without one, 1.0 and 1.00 are equal but written differently"
    return None


def _check_name(what: str, name: str) -> None:
    size = len(name.encode(errors="replace"))
    if not 0 < size <= _MOST_BYTES or "\0" in name:
        raise InvalidProjection(
            f"{what} {name!r:.80}: expected a name of 1 to {_MOST_BYTES} bytes, got {size}"
        )
    if what == "column" and name in _SYSTEM:
        raise InvalidProjection(f"column {name!r}: expected another name: PostgreSQL has this one")


def _check_value(column: Column[Any]) -> None:
    reason = None
    default: Any = column.default
    if column.identity is not None:
        reason = "no identity: its numbers depend on the order in which rows are written"
    elif column.computed is not None and column.primary_key:
        reason = "a key that events name, got a computed column"
    elif default is not None and not default.is_scalar:
        reason = "a constant default: handlers are pure; let them return the value"
    elif column.primary_key and (expected := _key_reason(column.type)) is not None:
        reason = f"{expected}, got {column.type!r}"
    elif column.onupdate is not None:
        reason = "no onupdate: handlers are pure; let them return the value"
    if reason is not None:
        raise InvalidProjection(f"column {column.name!r}: expected {reason}")
