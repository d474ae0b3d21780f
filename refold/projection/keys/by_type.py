"""`KeyByType`: a part of a key that events of some types name otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, FromClause, String, case

from refold.event import Event
from refold.projection.key import Key
from refold.projection.keys.part import KeyPart


@dataclass(frozen=True)
class KeyByType(KeyPart):
    """One part of a key, of events of some types another one.

    In SQL it is a CASE over constants of types: PostgreSQL reads the log once, however many keys
    there are.

    Attributes:
        default: The part of all other types.
        others: The part of each event type that has its own; all are of one column.
    """

    default: KeyPart
    others: Mapping[str, KeyPart]

    @property
    def column(self) -> Column[Any]:  # type: ignore[override]
        """The column of the primary key."""
        return self.default.column

    @property
    def path(self) -> str:
        """How it is written: that of most types, and then the others with their types."""
        others = [f"{part.path} of {', '.join(types)}" for part, types in self._grouped()]
        return " or ".join([self.default.path, *others])

    @property
    def reads(self) -> frozenset[str]:
        """The paths into events of all types."""
        return self.default.reads.union(*[part.reads for part in self.others.values()])

    def of(self, event: Event) -> Key | None:
        """The event's key part; see `KeyPart`."""
        return self.for_type(event.type).of(event)

    def sql(self, events: FromClause, type_prefix: str = "") -> ColumnElement[Any]:
        """The key part as an expression; see `KeyPart`."""
        whens = [
            (self._is_of(types, events, type_prefix), part.sql(events, type_prefix))
            for part, types in self._grouped()
        ]
        found = case(*whens, else_=self.default.sql(events, type_prefix))
        kind = self.column.type
        if not isinstance(kind, String):
            return found
        # The streams' column may have another collation than what is read of JSON.
        return found.collate(kind.collation or "default")

    def misfits(self, events: FromClause, type_prefix: str = "") -> ColumnElement[bool]:
        """True for events whose value is present but does not fit; see `KeyPart`."""
        whens = [
            (self._is_of(types, events, type_prefix), part.misfits(events, type_prefix))
            for part, types in self._grouped()
        ]
        return case(*whens, else_=self.default.misfits(events, type_prefix))

    def for_type(self, event_type: str) -> KeyPart:
        """The part that counts for events of a type."""
        return self.others.get(event_type, self.default)

    def _grouped(self) -> list[tuple[KeyPart, list[str]]]:
        groups: dict[KeyPart, list[str]] = {}
        for event_type, part in self.others.items():
            groups.setdefault(part, []).append(event_type)
        return list(groups.items())

    def _is_of(self, types: list[str], events: FromClause, type_prefix: str) -> ColumnElement[bool]:
        return events.c.type.in_([f"{type_prefix}{name}" for name in types])
