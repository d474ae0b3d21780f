"""The table of a read model, however it is declared: as a table, or as a mapped class."""

from __future__ import annotations

from typing import Any, TypeAlias

from sqlalchemy import FromClause, Table, inspect

from refold.errors import InvalidProjection
from refold.projection.schemas import require_own_place

TableSpec: TypeAlias = Table | type[Any]
"""A SQLAlchemy Core table, or a declarative class that is mapped to one."""


def table_of(name: str, declared: TableSpec) -> Table:
    """The table of a projection.

    Args:
        name: The projection's, for errors.
        declared: A table; or a class, of which the table counts and nothing else.

    Raises:
        InvalidProjection: It is neither, a class with no table or several, or the table has no
            primary key that fits, or stands where it must not.
    """
    table = declared if isinstance(declared, Table) else _mapped(f"{name}: table", declared)
    if not table.primary_key.columns:
        raise InvalidProjection(
            f"{name}: table {table.name!r} needs a primary key: it is the projection's key"
        )
    require_own_place(name, table)
    if table.primary_key.deferrable:
        raise InvalidProjection(
            f"{name}: table {table.name!r}: expected a primary key that is checked at once, "
            "got a deferrable one: rows are put in the place of those with the same key"
        )
    return table


def looked_up(name: str, declared: FromClause | type[Any]) -> FromClause:
    """A table that a projection's select reads beside the events: one, or a class that has one.

    Raises:
        InvalidProjection: A class has none, or several.
    """
    return _mapped(f"{name}: lookups", declared) if isinstance(declared, type) else declared


def _mapped(named: str, declared: object) -> Table:
    """The one table that a class is mapped to."""
    expected = f"{named}: expected a SQLAlchemy table, or a declarative class with one"
    if not isinstance(declared, type):
        raise InvalidProjection(f"{expected}, got {_kind(declared)}")
    # Without a mapper: an abstract base, a mixin, what reflection has not prepared yet.
    mapper: Any = inspect(declared, raiseerr=False)
    if mapper is None or not hasattr(mapper, "local_table"):
        raise InvalidProjection(
            f"{expected}, got class {declared.__name__}, which is mapped to none: give it a "
            "__tablename__, or name a class that has one"
        )
    if mapper.inherits is not None or len(mapper.tables) != 1:
        tables = ", ".join(sorted(str(table.name) for table in mapper.tables))
        raise InvalidProjection(
            f"{expected} of its own, got class {declared.__name__}, which shares or joins tables "
            f"with others ({tables}): the rows of a read model stand in one"
        )
    if not isinstance(mapper.local_table, Table):
        raise InvalidProjection(
            f"{expected}, got class {declared.__name__}, which is mapped to a "
            f"{type(mapper.local_table).__name__.lower()}: handlers cannot write there"
        )
    return mapper.local_table


def _kind(value: object) -> str:
    return f"{value!r}" if isinstance(value, str) else f"a {type(value).__name__}"
