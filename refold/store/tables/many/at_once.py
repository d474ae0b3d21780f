"""Many rows put in place by one statement: each column travels as an array.

PostgreSQL needs half the time for it that it needs for as many statements of one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    CHAR,
    JSON,
    Boolean,
    ColumnElement,
    Date,
    DateTime,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    Select,
    String,
    Table,
    Text,
    Time,
    TypeDecorator,
    Uuid,
    bindparam,
    cast,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import INTERVAL, Insert, insert
from sqlalchemy.types import TypeEngine

from refold.projection.columns.kind import Kind, same
from refold.projection.declaration import Row
from refold.runtime.database import DIALECT, compiled_names
from refold.store.tables.many.array_text import array_text_of
from refold.store.tables.stored_types import driver_binder

_ROWS = 1000
"""So many rows has a statement at most."""

_BYTES = 4 << 20
"""So many bytes, about, unless one row has more: an array ends at a gigabyte."""

# Whose values do not look like lists to the driver: it would take them for further dimensions.
_ATOMS = (
    String,
    Integer,
    Numeric,
    Float,
    Boolean,
    Date,
    DateTime,
    Time,
    Interval,
    INTERVAL,
    Uuid,
    JSON,
    LargeBinary,
)
_LONG = (String, JSON, LargeBinary)

Statement = tuple[str, tuple[Any, ...]]
"""SQL for the driver, and its arguments."""


@dataclass(frozen=True)
class Array:
    """How a column's values travel.

    Attributes:
        bound: Turns stored values into the driver's.
        made: Makes an argument of these.
        sent: The argument in SQL, given its name.
        is_long: Whether its values may be long.
    """

    bound: Callable[[list[Any]], list[Any]]
    made: Callable[[list[Any]], Any]
    sent: Callable[[str], ColumnElement[Any]]
    is_long: bool

    @classmethod
    def of(cls, kind: Kind) -> Array:
        """For values of a kind that is an atom to the driver."""
        is_long = isinstance(kind.base, _LONG)
        as_text = array_text_of(kind)
        if as_text is not None:
            made, inner = as_text
            array: TypeEngine[Any] = ARRAY(inner)
            return cls(same, made, lambda name: cast(bindparam(name, type_=Text), array), is_long)
        binder = driver_binder(kind)
        bound = same if binder is None else lambda values: list(map(binder, values))
        array = ARRAY(kind.base)
        return cls(bound, same, lambda name: bindparam(name, type_=array), is_long)


class AtOnce:
    """Makes statements that put rows of one table in place; see `at_once_of`.

    Attributes:
        columns: How each column travels, by name.
    """

    def __init__(self, sql: str, columns: Mapping[str, Array]) -> None:
        self._sql = sql
        self.columns = columns
        self._long = [name for name, column in columns.items() if column.is_long]

    def arrays(self, rows: Sequence[Row]) -> list[Any] | None:
        """These rows as the arguments of one statement; None where they take several."""
        if not 0 < len(rows) <= _ROWS:
            return None
        columns = self._bound(rows)
        return self._made(columns) if self._fits(columns) else None

    def statements(self, rows: Sequence[Row]) -> Iterator[Statement]:
        """Yields statements for these rows, in their order."""
        for start in range(0, len(rows), _ROWS):
            yield from self._bounded(self._bound(rows[start : start + _ROWS]))

    def _bound(self, rows: Sequence[Row]) -> dict[str, list[Any]]:
        return {
            name: column.bound([row[name] for row in rows]) for name, column in self.columns.items()
        }

    def _fits(self, columns: dict[str, list[Any]]) -> bool:
        return sum(_size(columns[name]) for name in self._long) <= _BYTES

    def _made(self, columns: dict[str, list[Any]]) -> list[Any]:
        return [self.columns[name].made(values) for name, values in columns.items()]

    def _bounded(self, columns: dict[str, list[Any]]) -> Iterator[Statement]:
        count = len(next(iter(columns.values())))
        if count > 1 and not self._fits(columns):
            half = count // 2
            yield from self._bounded({name: values[:half] for name, values in columns.items()})
            yield from self._bounded({name: values[half:] for name, values in columns.items()})
        else:
            yield self._sql, tuple(self._made(columns))


def at_once_of(
    table: Table,
    stored: Table,
    kinds: Mapping[str, Kind],
    placed: Callable[[Insert], Insert],
) -> AtOnce | None:
    """What puts many rows in place at once; None where the table has a column that must not.

    Args:
        table: The table as it is declared.
        stored: The table for statements.
        kinds: Its columns.
        placed: Adds to an insert what becomes of rows that are there.
    """
    if not all(isinstance(kind.base, _ATOMS) for kind in kinds.values()):
        return None
    if not all(is_exact(column.type) for column in table.primary_key.columns):
        return None
    columns = {name: Array.of(kind) for name, kind in kinds.items()}
    statement = placed(insert(stored).from_select(list(columns), listed_rows(columns)))
    sql, order = compiled_names(statement)
    assert order == names_of(columns), order
    return AtOnce(sql, columns)


def names_of(columns: Mapping[str, Array]) -> list[str]:
    """The parameters that have these columns, in order."""
    return [f"c{i}" for i in range(len(columns))]


def listed_rows(columns: Mapping[str, Array]) -> Select[Any]:
    """The statement that gives rows back whose columns travel as arrays."""
    names = names_of(columns)
    arrays = [column.sent(name) for name, column in zip(names, columns.values(), strict=True)]
    listed = func.unnest(*arrays).table_valued(*names).render_derived()
    return select(*listed.c)


def is_exact(kind: TypeEngine[Any]) -> bool:
    """Whether PostgreSQL tells keys of this type apart as Python does, also as a plain text.

    One statement must not put the same row in place twice, and must find each that is asked for.
    """
    while isinstance(kind, TypeDecorator):
        kind = kind.load_dialect_impl(DIALECT)
    if isinstance(kind, String):
        return kind.collation is None and not isinstance(kind, CHAR)
    return isinstance(kind, (Integer, Numeric, Boolean, Date, DateTime, Time, Uuid))


def _size(values: list[Any]) -> int:
    """The length of texts or bytes, some of which may be None."""
    try:
        return sum(map(len, values))
    except TypeError:
        return sum(len(value) for value in values if value is not None)
