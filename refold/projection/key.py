"""What one row stands for: a key, and how it is stored as JSON.

How an event names its key is said in `refold.projection.keys`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from operator import itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Date, Table, Uuid

from refold.event import Event

Key = Any
"""A key's value: a scalar for one key column, a tuple for several."""

KeyFunction = Callable[[Event], Any]


class KeyDoesNotFit(ValueError):
    """A path's value that cannot become a key of its column's type; the event is poison."""


def stored_key(key: Key) -> list[Any]:
    """A key as JSON: the list of its parts."""
    parts = key if isinstance(key, tuple) else (key,)
    return [str(part) if isinstance(part, UUID | date) else part for part in parts]


def key_loader(table: Table) -> Callable[[Sequence[Any]], Key]:
    """What makes a key from its stored form, with the types of the table's key columns."""
    kinds = [_loader(c.type) for c in table.primary_key.columns]

    def load(stored: Sequence[Any]) -> Key:
        pairs = zip(kinds, stored, strict=True)
        parts = [part if kind is None else kind(part) for kind, part in pairs]
        return parts[0] if len(parts) == 1 else tuple(parts)

    return itemgetter(0) if kinds == [None] else load


def loaded_key(table: Table, stored: Sequence[Any]) -> Key:
    """A key from its stored form, with the types of the table's key columns."""
    return key_loader(table)(stored)


def _loader(kind: Any) -> Callable[[Any], Any] | None:
    if isinstance(kind, Date):
        return date.fromisoformat
    return UUID if isinstance(kind, Uuid) else None
