"""`KeyRule`: the key of a projection, of all its event types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Table

from refold.errors import InvalidProjection
from refold.projection.key import KeyFunction
from refold.projection.keys.by_type import KeyByType
from refold.projection.keys.derived import DerivedDate, DerivedText
from refold.projection.keys.part import KeyPart
from refold.projection.keys.path import KeyPath

PartSpec = str | DerivedText | DerivedDate
PathSpec = PartSpec | tuple[PartSpec, ...]
KeySpec = PathSpec | KeyFunction


class KeyRule:
    """Which row an event belongs to: by paths, which SQL knows too, or by a function.

    Args:
        spec: The projection's own key.
        table: The projection's table.

    Attributes:
        function: The function, if the key is one.
        parts: Else the parts, one for each column of the primary key.
        own: The parts of event types that have none of their own.

    Raises:
        InvalidProjection: It does not match the table's primary key.
    """

    def __init__(self, spec: KeySpec, table: Table) -> None:
        self._table = table
        self.own: tuple[KeyPart, ...] = ()
        self._of_types: dict[str, tuple[KeyPart, ...]] = {}
        self.function: KeyFunction | None = None
        self.parts: tuple[KeyPart, ...] | None = None
        if callable(spec):
            self.function = spec
        else:
            self.parts = self.own = key_parts(spec, table)

    def parts_of(self, spec: Any) -> tuple[KeyPart, ...]:
        """The parts of a key that single event types are to have.

        Raises:
            InvalidProjection: It does not match the primary key, or this projection cannot have
                such keys.
        """
        if self.function is not None:
            raise InvalidProjection(
                "key: expected none beside the projection's own key, which is a function, got "
                f"{spec!r}: let the function look at event.type, or make the projection's key a "
                "path"
            )
        if callable(spec):
            raise InvalidProjection(
                "key: expected a path, what lower(), split(), day() or month() gives, or a tuple "
                "of these, got a function, which SQL cannot see: make it the key of the whole "
                "projection"
            )
        return key_parts(spec, self._table)

    def set_parts(self, event_types: Sequence[str], parts: tuple[KeyPart, ...]) -> None:
        """Gives event types their own key, in place of the projection's."""
        self._of_types |= dict.fromkeys(event_types, parts)
        self.parts = tuple(self._part(index) for index in range(len(self.own)))

    def _part(self, index: int) -> KeyPart:
        own = self.own[index]
        others = {name: parts[index] for name, parts in self._of_types.items()}
        others = {name: part for name, part in others.items() if part != own}
        return KeyByType(own, others) if others else own


def key_parts(spec: Any, table: Table) -> tuple[KeyPart, ...]:
    """The parts of a key that is no function, matched with the table's primary key in order.

    Raises:
        InvalidProjection: The number of parts differs from the number of primary-key columns, or
            a path or column type is not supported.
    """
    specs = spec if isinstance(spec, tuple) else (spec,)
    columns: Sequence[Column[Any]] = list(table.primary_key.columns)
    if len(specs) != len(columns):
        names = ", ".join(c.name for c in columns) or "none"
        raise InvalidProjection(
            f"key {spec!r}: expected {len(columns)} path(s) for the primary key of table "
            f"{table.name!r} ({names}), got {len(specs)}"
        )
    return tuple(_part(one, column) for one, column in zip(specs, columns, strict=True))


def _part(spec: Any, column: Column[Any]) -> KeyPart:
    if isinstance(spec, DerivedText | DerivedDate):
        return spec.part(column)
    return KeyPath(spec, column)
