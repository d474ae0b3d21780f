"""`KeyPart`: one column of a key, alike in Python and in SQL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Column, ColumnElement, FromClause

from refold.event import Event
from refold.projection.key import Key


class KeyPart(ABC):
    """One part of a key: what it is of an event, and the primary-key column that it fills.

    It exists twice, as Python and as an SQL expression, so that PostgreSQL can order and slice the
    log by key; both sides accept exactly the same values and make the same key.

    Attributes:
        column: The column of the primary key.
    """

    column: Column[Any]

    @property
    @abstractmethod
    def path(self) -> str:
        """How it is written, such as ``data.sku`` or ``lower(data.sku)``."""

    @property
    @abstractmethod
    def reads(self) -> frozenset[str]:
        """The paths into the event that it depends on."""

    @property
    def is_stream(self) -> bool:
        """Whether it is an event's stream, as it is."""
        return False

    @abstractmethod
    def of(self, event: Event) -> Key | None:
        """The event's key part; None when it has none (the event is skipped).

        Raises:
            KeyDoesNotFit: The value cannot become a value of the column's type.
        """

    @abstractmethod
    def sql(self, events: FromClause, type_prefix: str = "") -> ColumnElement[Any]:
        """The key part as an expression over events; NULL where Python says None.

        It is never an error for values that do not fit, which `misfits` finds: NULL for all column
        types but text, and for text what the value is as text.

        Args:
            events: A relation with the columns of events.
            type_prefix: What stored types of events begin with.
        """

    @abstractmethod
    def misfits(self, events: FromClause, type_prefix: str = "") -> ColumnElement[bool]:
        """True for events whose value is present but does not fit (poison); see `sql`."""

    def for_type(self, event_type: str) -> KeyPart:
        """The part that counts for events of a type."""
        return self


def paths_read(parts: Iterable[KeyPart]) -> list[str]:
    """The paths into the event that a key depends on, sorted."""
    return sorted({path for part in parts for path in part.reads})
