"""`StoredPart`: a part of a key that a function has made, as it was written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CHAR,
    Boolean,
    Column,
    ColumnElement,
    Date,
    Enum,
    FromClause,
    Integer,
    String,
    Table,
    Uuid,
    false,
)

from refold.event import Event
from refold.projection.key import Key
from refold.projection.keys.part import KeyPart

_WRITTEN = (String, Integer, Uuid, Date, Boolean)
_NOT_WRITTEN = (Enum, CHAR)


def unwritten(table: Table) -> list[str]:
    """The key columns of a table whose values are not written down, as ``name type``."""
    return [
        f"{column.name} {column.type!r}"
        for column in table.primary_key.columns
        if not isinstance(column.type, _WRITTEN) or isinstance(column.type, _NOT_WRITTEN)
    ]


@dataclass(frozen=True)
class StoredPart(KeyPart):
    """One part of a key that is in a table beside the events, made by a function in Python.

    Attributes:
        column: The column of the primary key.
        stored: Where it was written down.
    """

    column: Column[Any]
    stored: ColumnElement[Any]

    @property
    def path(self) -> str:
        """It has no path: a function has made it."""
        return "key function"

    @property
    def reads(self) -> frozenset[str]:
        """Nothing more is read of the event."""
        return frozenset()

    def of(self, event: Event) -> Key | None:
        """It is not made again of the event: the projection's function makes it.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("a stored key is read, not computed")

    def sql(self, events: FromClause, type_prefix: str = "") -> ColumnElement[Any]:
        """Where it was written down, whatever the relation of events is."""
        return self.stored

    def misfits(self, events: FromClause, type_prefix: str = "") -> ColumnElement[bool]:
        """Never: what does not fit was not written down."""
        return false()
