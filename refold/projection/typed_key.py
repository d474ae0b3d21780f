"""A key as somebody types it: texts, made values of the key columns' types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Date, DateTime, Integer, Numeric, Uuid
from sqlalchemy.types import TypeEngine

from refold.errors import InvalidRequest
from refold.projection.declaration import Projection
from refold.projection.key import Key

_BOOLEANS = {"true": True, "false": False}

_READ: tuple[tuple[type[TypeEngine[Any]], str, Callable[[str], Any]], ...] = (
    (Integer, "a whole number", int),
    (Uuid, "a UUID", UUID),
    (DateTime, "a time, such as 2026-03-01T00:00:00Z", datetime.fromisoformat),
    (Date, "a date, such as 2026-03-01", date.fromisoformat),
    (Boolean, "true or false", _BOOLEANS.__getitem__),
    (Numeric, "a number", Decimal),
)


def typed_key(projection: Projection, texts: Sequence[str]) -> Key:
    """The key that these texts are, a text for each key column.

    Raises:
        InvalidRequest: They are too few or too many, or one is no value of its column's type.
    """
    columns = list(projection.table.primary_key.columns)
    if len(texts) != len(columns):
        names = ", ".join(str(column.name) for column in columns)
        raise InvalidRequest(
            f"key of {projection.name!r}: expected {len(columns)} value(s), for {names}, got "
            f"{len(texts)}"
        )
    parts = [_part(str(c.name), c.type, text) for c, text in zip(columns, texts, strict=True)]
    return parts[0] if len(parts) == 1 else tuple(parts)


def _part(name: str, kind: TypeEngine[Any], text: str) -> Any:
    for type_, expected, read in _READ:
        if isinstance(kind, type_):
            try:
                return read(text)
            except (ValueError, ArithmeticError, KeyError):
                raise InvalidRequest(
                    f"key column {name!r}: expected {expected}, got {text!r}"
                ) from None
    return text
