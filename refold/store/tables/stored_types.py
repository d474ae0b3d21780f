"""The types by which rows are written and read, with the values that SQLAlchemy would change.

SQLAlchemy and the driver change some values: the driver writes the last date as infinity, and
SQLAlchemy writes NULL in a JSON column as JSON's null. A table of stored types holds what
`refold.projection.columns` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    Float,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects.postgresql import NUMRANGE
from sqlalchemy.types import TypeEngine

from refold.projection.columns import Kind, kind_of
from refold.projection.columns.declared import written_columns
from refold.projection.columns.kind import same
from refold.runtime.database import DIALECT


class _Stored(TypeDecorator[Any]):
    """A type whose values are changed on their way in and out."""

    impl = Text
    cache_ok = True

    def __init__(
        self,
        base: TypeEngine[Any],
        bind: Callable[[Any], Any],
        read: Callable[[Any], Any] | None,
        takes_none: bool,
    ) -> None:
        super().__init__()
        self.base = base
        self.bind = bind
        self.read = read
        self.takes_none = takes_none

    def load_dialect_impl(self, dialect: Any) -> TypeEngine[Any]:
        return self.base

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value if value is None and not self.takes_none else self.bind(value)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        if self.read is None or (value is None and not self.takes_none):
            return value
        return self.read(value)


# Kept as long as the tables that it is made for: see `refold.store.tables.read_models.physical`.
@lru_cache(maxsize=256)
def stored(table: Table) -> tuple[Table, Mapping[str, Kind]]:
    """A table for statements about rows, with the columns that handlers fill, and their kinds."""
    kinds = {str(column.name): kind_of(column) for column in written_columns(table)}
    columns: list[Column[Any]] = [
        Column(
            column.name,
            _type(kinds[column.name]),
            primary_key=column.primary_key,
            nullable=column.nullable,
            autoincrement=False,
        )
        for column in written_columns(table)
    ]
    return Table(table.name, MetaData(), *columns, schema=table.schema), kinds


def _type(kind: Kind) -> TypeEngine[Any]:
    if kind.bind is same and kind.read is None:
        return kind.base
    return _Stored(kind.base, kind.bind, kind.read, kind.takes_none)


def driver_binder(kind: Kind) -> Callable[[Any], Any] | None:
    """The function that turns a stored value into the driver's; None where it is that already."""
    processor: Callable[[Any], Any] | None
    processor = kind.base.dialect_impl(DIALECT).bind_processor(DIALECT)
    bind = kind.bind
    if bind is same:
        return processor
    if kind.takes_none:
        return bind if processor is None else lambda value: processor(bind(value))
    if processor is None:
        return lambda value: None if value is None else bind(value)
    return lambda value: processor(None if value is None else bind(value))


def has_coarse_equality(kind: Kind) -> bool:
    """Whether PostgreSQL takes some values for equal that handlers tell apart, or compares none.

    In jsonb and in a numeric without a scale, 1.5 and 1.50 are equal. A collation may take
    different texts for equal. json has no equality at all.
    """
    base: Any = kind.base
    while isinstance(base, ARRAY):
        base = base.item_type
    if isinstance(base, String):
        return base.collation is not None
    if isinstance(base, Numeric) and not isinstance(base, Float):
        return base.precision is None
    return isinstance(base, (JSON, NUMRANGE))
