"""What is done to stored events of older schema versions: one upcaster after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from refold.errors import HandlerInterrupted
from refold.errors.words import described, raised, raised_at
from refold.event import Event
from refold.projection.reading.does_not_fit import EventDoesNotFit

Upcaster = Callable[[Event], dict[str, Any]]
"""The event as it was stored in, and its data as the next schema version has them out."""

MOST = 2**31
"""Schema versions are below this."""


@dataclass(frozen=True)
class Declared:
    """One upcaster: which events it takes, and what it makes of them.

    Attributes:
        type: The event type that it takes.
        version: The schema version that it takes.
        to_type: The event type that it makes.
        to_version: The schema version that it makes.
        version_at: Where a stored event of its type says its schema version.
        upcaster: The function.
    """

    type: str
    version: int
    to_type: str
    to_version: int
    version_at: str
    upcaster: Upcaster = field(compare=False)

    @property
    def what(self) -> str:
        """It in words, for errors."""
        name = getattr(self.upcaster, "__name__", repr(self.upcaster))
        return f"upcaster {name!r} ({self.type}, from version {self.version})"

    def data_of(self, event: Event) -> dict[str, Any]:
        """The event's data as the next version has them.

        Raises:
            EventDoesNotFit: The function raised, or returned something else.
        """
        try:
            data: object = self.upcaster(event)
        except HandlerInterrupted:
            raise
        except BaseException as error:  # `exit()` in it is no end of ours
            place = raised_at(error)
            at = "" if place is None else f" (at {place})"
            raise EventDoesNotFit(f"{self.what}: {raised(error)}{at}") from error
        if not isinstance(data, dict):
            got = "an Event" if isinstance(data, Event) else described(data)
            raise EventDoesNotFit(
                f"{self.what}: expected a dict, the data of version {self.to_version} of "
                f"{self.to_type}, got {got}"
            )
        return data


class Chain:
    """All that is done to stored events of one type.

    Args:
        upcasters: By the schema version that an event is stored in, what is done to it in order.
        version_at: Where an event says its schema version.
    """

    def __init__(self, upcasters: dict[int, tuple[Declared, ...]], version_at: str) -> None:
        self._upcasters = upcasters
        self._at = version_at
        self._root, *self._path = version_at.split(".")

    @property
    def ends(self) -> set[str]:
        """The types that events come out as."""
        return {upcasters[-1].to_type for upcasters in self._upcasters.values()}

    def upcast(self, event: Event) -> Event:
        """The event as its newest version has it; one that nothing is done to, as it is.

        Raises:
            EventDoesNotFit: An upcaster cannot take it, or its schema version is none.
        """
        upcasters = self._upcasters.get(self._version(event))
        if upcasters is None:
            return event
        event = event._replace(data=_copied(event.data))  # an upcaster may change what it is given
        for one in upcasters:
            event = event._replace(data=one.data_of(event), type=one.to_type)
        return event

    def _version(self, event: Event) -> int:
        value: Any = getattr(event, self._root)
        for name in self._path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is None:
            return 1
        if type(value) is int and 1 <= value < MOST:
            return value
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
            return int(value)
        raise EventDoesNotFit(
            f"{self._at}: expected a schema version, a whole number from 1, got {described(value)}"
        )


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_copied(inner) for inner in value]
    return value
