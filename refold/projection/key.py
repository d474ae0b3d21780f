"""What one row stands for: how an event names its key, alike in Python and in SQL.

A key is a path into the event (``stream_id``, ``data.sku``, ``metadata.customer_id``), a tuple of
paths, or a function. Paths exist twice, as Python and as an SQL expression, so that PostgreSQL can
order and slice the log by key; both sides accept exactly the same values and make the same key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CHAR,
    BigInteger,
    Column,
    ColumnElement,
    Enum,
    FromClause,
    Integer,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    and_,
    case,
    cast,
    false,
    func,
    literal,
    not_,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

from refold.errors import InvalidProjection
from refold.errors.words import described
from refold.event import Event

Key = Any
"""A key's value: a scalar for one key column, a tuple for several."""

KeyFunction = Callable[[Event], Any]
KeySpec = str | tuple[str, ...] | KeyFunction

_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_INTEGER_SQL = "^-?[0-9]{1,19}$"
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UUID_SQL = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
# What PostgreSQL takes for an array's index; one of more digits is beyond any array.
_INDEX = re.compile(r"[ \t-\r]*[+-]?0*[0-9]{1,9}")
# JSON's whole numbers beyond these are decoded as floats, which are no keys.
_LEAST_WHOLE, _MOST_WHOLE = -(2**63), 2**64 - 1
_WHOLE_SQL = literal(_LEAST_WHOLE, Numeric), literal(_MOST_WHOLE, Numeric)
_PATH = re.compile(r"stream_id|(data|metadata)(\.[^.]+)+")


class KeyDoesNotFit(ValueError):
    """A path's value that cannot become a key of its column's type; the event is poison."""


@dataclass(frozen=True)
class KeyPath:
    """One part of a key: a path into the event and the primary-key column it fills."""

    path: str
    column: Column[Any]

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise InvalidProjection(
                f"key {self.path!r}: expected 'stream_id', 'data.<field>' or 'metadata.<field>'"
            )
        kind = self.column.type
        if isinstance(kind, Uuid) and not (kind.as_uuid and kind.native_uuid):
            raise InvalidProjection(
                f"key column {self.column.name!r}: expected Uuid() for the path {self.path!r}, got "
                f"{kind!r}: only that is a UUID to both Python and PostgreSQL"
            )
        # CHAR comes back padded, and an Enum has an order of its own: SQL and Python would differ.
        if not isinstance(kind, (String, Integer, Uuid)) or isinstance(kind, (CHAR, Enum)):
            raise InvalidProjection(
                f"key column {self.column.name!r}: expected a Text, String, Integer or Uuid column "
                f"for the path {self.path!r}, got {self.column.type!r}; use a key function instead"
            )

    # -- in Python ---------------------------------------------------------------------------

    def of(self, event: Event) -> Key | None:
        """The event's key part; None when the path is missing or null (the event is skipped).

        Raises:
            KeyDoesNotFit: The value cannot become a value of the column's type.
        """
        value = self._value(event)
        return None if value is None else self._cast(value)

    def _value(self, event: Event) -> Any:
        root, *steps = self.path.split(".")
        value: Any = getattr(event, root)
        for step in steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and _INDEX.fullmatch(step):
                index = int(step)
                value = value[index] if -len(value) <= index < len(value) else None
            else:
                return None
        return value

    def _cast(self, value: Any) -> Key:
        text = _scalar_text(value)
        kind = self.column.type
        if text is not None:
            if isinstance(kind, Uuid) and _UUID.fullmatch(text):
                return UUID(text)
            if isinstance(kind, Integer) and _INTEGER.fullmatch(text):
                low, high = _bounds(kind)
                if low <= int(text) <= high:
                    return int(text)
            if isinstance(kind, String) and (kind.length is None or len(text) <= kind.length):
                return text
        raise KeyDoesNotFit(
            f"{self.path} = {described(value)} does not fit the key column "
            f"{self.column.name!r} ({kind!r})"
        )

    # -- in SQL ------------------------------------------------------------------------------

    def sql(self, events: FromClause) -> ColumnElement[Any]:
        """The key part as an expression over the event table; NULL where Python says None.

        It is never an error for values that do not fit, which `misfits` finds: NULL for an integer
        or a UUID, and for text what ``->>`` makes of it.
        """
        text, kind = self._sql_text(events), self.column.type
        if self._is_typed_alike(events):
            return events.c.stream_id
        if isinstance(kind, Uuid):
            return case((text.op("~")(_UUID_SQL), cast(text, Uuid)))
        if isinstance(kind, Integer):
            low, high = _bounds(kind)
            wide = cast(text, Numeric)
            in_range = case((wide.between(low, high), cast(text, BigInteger)))
            return case((text.op("~")(_INTEGER_SQL), in_range))
        collation = getattr(kind, "collation", None)
        return text if collation is None else text.collate(collation)

    def misfits(self, events: FromClause) -> ColumnElement[bool]:
        """True for events whose value is present but does not fit (poison)."""
        text, kind = self._sql_text(events), self.column.type
        fits: ColumnElement[bool] = true()
        if isinstance(kind, (Uuid, Integer)):
            fits = self.sql(events).is_not(None)
        elif isinstance(kind, String) and kind.length is not None:
            fits = func.char_length(text) <= kind.length
        if self.path != "stream_id":
            json_type = func.jsonb_typeof(self._sql_json(events))
            scalar = json_type.in_(["string", "boolean"])
            in_range = cast(text, Numeric).between(*_WHOLE_SQL)
            # A case, as it alone keeps the cast from text that is no number.
            whole = case(
                (and_(json_type == "number", text.op("~")("^-?[0-9]{1,20}$")), in_range),
                else_=false(),
            )
            fits = and_(fits, scalar | whole)
        return and_(text.is_not(None), not_(fits))

    def _is_typed_alike(self, events: FromClause) -> bool:
        """Whether the stream's own column is a value of the key's type, as it is."""
        column = events.c.stream_id
        return self.path == "stream_id" and (
            (isinstance(self.column.type, Uuid) and isinstance(column.type, Uuid))
            or (isinstance(self.column.type, BigInteger) and isinstance(column.type, Integer))
        )

    def _sql_json(self, events: FromClause) -> ColumnElement[Any]:
        root, *steps = self.path.split(".")
        column = events.c[root]
        return column[steps[0]] if len(steps) == 1 else column[tuple(steps)]

    def _sql_text(self, events: FromClause) -> ColumnElement[Any]:
        if self.path == "stream_id":
            column = events.c.stream_id
            return column if isinstance(column.type, String) else cast(column, Text)
        json: Any = self._sql_json(events)
        assert isinstance(json.type, JSONB)
        text: ColumnElement[Any] = json.astext
        return text


def key_paths(spec: str | tuple[str, ...], table: Table) -> tuple[KeyPath, ...]:
    """The parts of a key that is given by paths, matched with the table's primary key in order.

    Raises:
        InvalidProjection: The number of paths differs from the number of primary-key columns, or
            a path or column type is not supported.
    """
    paths = (spec,) if isinstance(spec, str) else spec
    columns: Sequence[Column[Any]] = list(table.primary_key.columns)
    if len(paths) != len(columns):
        names = ", ".join(c.name for c in columns) or "none"
        raise InvalidProjection(
            f"key {spec!r}: expected {len(columns)} path(s) for the primary key of table "
            f"{table.name!r} ({names}), got {len(paths)}"
        )
    return tuple(KeyPath(path, column) for path, column in zip(paths, columns, strict=True))


def stored_key(key: Key) -> list[Any]:
    """A key as JSON: the list of its parts."""
    parts = key if isinstance(key, tuple) else (key,)
    return [str(part) if isinstance(part, UUID) else part for part in parts]


def key_loader(table: Table) -> Callable[[Sequence[Any]], Key]:
    """What makes a key from its stored form, with the types of the table's key columns."""
    kinds = [UUID if isinstance(c.type, Uuid) else None for c in table.primary_key.columns]

    def load(stored: Sequence[Any]) -> Key:
        pairs = zip(kinds, stored, strict=True)
        parts = [part if kind is None else kind(part) for kind, part in pairs]
        return parts[0] if len(parts) == 1 else tuple(parts)

    return itemgetter(0) if kinds == [None] else load


def loaded_key(table: Table, stored: Sequence[Any]) -> Key:
    """A key from its stored form, with the types of the table's key columns."""
    return key_loader(table)(stored)


def _scalar_text(value: Any) -> str | None:
    """What PostgreSQL's ``->>`` gives for a string, a boolean or a whole number."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    whole = isinstance(value, int) and _LEAST_WHOLE <= value <= _MOST_WHOLE
    return str(value) if whole else None


def _bounds(kind: Integer) -> tuple[int, int]:
    bits = 63 if isinstance(kind, BigInteger) else 15 if isinstance(kind, SmallInteger) else 31
    return -(2**bits), 2**bits - 1
