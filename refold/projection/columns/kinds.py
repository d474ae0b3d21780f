"""Which types columns may have, and the kind of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    PickleType,
    String,
    Time,
    TypeDecorator,
    Uuid,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql.ranges import AbstractSingleRange

from refold.errors import InvalidProjection
from refold.projection.columns import (
    arrays,
    documents,
    networks,
    numbers,
    ranges,
    texts,
    times,
    uuids,
)
from refold.projection.columns.decorated import DIALECT, decorated
from refold.projection.columns.kind import Kind, Settle, WrongValue, exactly, wrong

Maker = Callable[[str, Any], Kind]


def kind_of(column: Column[Any]) -> Kind:
    """What Refold knows of a column's values.

    Raises:
        InvalidProjection: Values of its type are not the same by every route.
    """
    return _kind(column.name, column.type, nullable=_takes_null(column))


def settle_for(column: Column[Any]) -> Settle:
    """The function that turns a handler's value into the stored one.

    Raises:
        InvalidProjection: See `kind_of`.
        WrongValue: Raised by the returned function when the column cannot hold a value; the
            message says what it expects.
    """
    kind = kind_of(column)
    by_kind = kind.settle
    if kind.takes_none or not _takes_null(column):
        return by_kind
    return lambda value: None if value is None else by_kind(value)


def is_mutable(column: Column[Any]) -> bool:
    """Whether a stored value can change in a handler's hands without becoming another object."""
    return kind_of(column).mutable


def _takes_null(column: Column[Any]) -> bool:
    return bool(column.nullable) and not column.primary_key


def _kind(name: str, kind: Any, *, nullable: bool) -> Kind:
    kind = kind._variant_mapping.get(DIALECT.name, kind)
    for refused, instead in _REFUSED:
        if isinstance(kind, refused):
            raise InvalidProjection(
                f"column {name!r}: expected a type whose values are the same by every route, got "
                f"{kind!r}; use {instead}"
            )
    for sql_type, make in _MAKERS:
        if isinstance(kind, sql_type):
            return make(name, kind)
    if isinstance(kind, ARRAY):
        return arrays.array(name, kind, _kind(name, kind.item_type, nullable=nullable))
    if isinstance(kind, postgresql.DOMAIN):
        return _domain(name, kind, nullable=nullable)
    if isinstance(kind, TypeDecorator):
        impl = _kind(name, kind.load_dialect_impl(DIALECT), nullable=nullable)
        return decorated(name, kind, impl, nullable=nullable)
    raise InvalidProjection(
        f"column {name!r}: expected a type that Refold knows (docs/write-a-projection.md lists "
        f"them), got {kind!r}; use one of them, or a TypeDecorator of one"
    )


def _domain(name: str, kind: postgresql.DOMAIN, *, nullable: bool) -> Kind:
    inner = kind.data_type
    plain = (String, Integer, Numeric, Date, DateTime, Boolean)
    if not isinstance(inner, plain) or isinstance(inner, (Enum, *(t for t, _ in _REFUSED))):
        raise InvalidProjection(
            f"column {name!r}: expected a domain over text, a number, a time or a truth value, got "
            f"one over {inner!r}"
        )
    return _kind(name, inner, nullable=nullable)


def _boolean(name: str, kind: Boolean) -> Kind:
    return Kind(exactly(name, bool), kind)


def _binary(name: str, kind: Any) -> Kind:
    return Kind(exactly(name, bytes), kind, freeze=bytes.hex, thaw=bytes.fromhex)


def _oid(name: str, kind: Any) -> Kind:
    return numbers.whole(name, kind, 0, 2**32 - 1)


# In this order: Float is a Numeric to SQLAlchemy, Enum a String.
_MAKERS: list[tuple[Any, Maker]] = [
    (Float, numbers.floating),
    (Numeric, numbers.numeric),
    (Integer, numbers.integer),
    (Enum, texts.enumerated),
    (String, texts.text),
    (DateTime, times.instant),
    (JSON, documents.document),
    (Boolean, _boolean),
    (Date, times.day),
    (Time, times.time_of_day),
    ((Interval, postgresql.INTERVAL), times.interval),
    (Uuid, uuids.unique_id),
    (LargeBinary, _binary),
    (postgresql.BIT, texts.bits),
    (postgresql.INET, networks.address),
    (postgresql.CIDR, networks.network),
    (postgresql.OID, _oid),
    (AbstractSingleRange, ranges.single_range),
]

_REFUSED: list[tuple[Any, str]] = [
    (postgresql.CITEXT, "Text, with a collation that ignores case if need be"),
    (postgresql.MONEY, "Numeric: how money is written is a setting of the session"),
    ((postgresql.TSVECTOR, postgresql.TSQUERY), "a Computed column, or an index on an expression"),
    ((postgresql.MACADDR, postgresql.MACADDR8), "Text"),
    (postgresql.HSTORE, "JSONB"),
    (PickleType, "JSONB: pickling a value twice may give different bytes"),
]

__all__ = ["Kind", "Settle", "WrongValue", "is_mutable", "kind_of", "settle_for", "wrong"]
