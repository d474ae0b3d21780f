"""A function that folds many events of a key at once, in place of all handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

from refold.event import Event, TypedEvent
from refold.projection.keys.rule import KeyRule
from refold.projection.reading.handlers import Handler, Handlers, Row
from refold.projection.reading.upcasting import UPCASTERS

FoldsKey = Callable[[Row | None, Sequence[Event]], Row | None]
"""The row so far (None: there is none) and events of one key in; the row after (None: delete it)
out. There is at least one event; they are in order."""

D = TypeVar("D")

_Prepare = Callable[[None, Event], Event | None]

FoldsTypedKey = Callable[[Row | None, Sequence[TypedEvent[D]]], Row | None]
"""A `FoldsKey` of events whose data are an instance of a class."""


class KeyFold:
    """The function, and what is done to stored events before it is given them.

    Args:
        projection: The projection's name, for errors.
        key: Its key.
        types: The types of events that the function takes, by name or as classes.
        function: The function.

    Attributes:
        function: The function.

    Raises:
        InvalidProjection: A class is not one of events.
    """

    def __init__(
        self,
        projection: str,
        key: KeyRule,
        types: tuple[str | type[Any], ...],
        function: FoldsKey,
    ) -> None:
        self.function = function
        # What handlers are given, returned: their classes and upcasters are those of all handlers.
        self._given = Handlers(projection, key)
        self._given.add(types, cast(Handler, _as_given))
        self._preparing: dict[str, _Prepare] | None = None
        UPCASTERS.follow(self)

    def of_one(self, row: Row | None, event: Event) -> Row | None:
        """The function as a handler of single events: what the rows must be is said by this."""
        return self.function(row, [event])

    def refresh(self, types: Iterable[str]) -> None:
        """Stored events of these types may be brought up to date otherwise than before."""
        self._preparing = None

    def given(self, events: list[Event]) -> list[Event]:
        """What the function is to be given for stored events of a key; it may be nothing.

        Raises:
            EventDoesNotFit: An event does not validate, or cannot be brought up to date.
        """
        preparing = self._preparing
        if preparing is None:
            preparing = self._preparing = self._found()
        if not preparing:
            return events
        made = [
            preparing[event.type](None, event) if event.type in preparing else event
            for event in events
        ]
        return [event for event in made if event is not None]

    @property
    def takes_stored_events(self) -> bool:
        """Whether the function is given events as they are stored."""
        return not self._found()

    def _found(self) -> dict[str, _Prepare]:
        """What makes of a stored event the one that is given, for types that need it.

        It is called with None and the event, and returns None for one that is passed over.
        """
        handlers: dict[str, Any] = {**self._given.by_type}
        return {kind: given for kind, given in handlers.items() if given is not _as_given}


def _as_given(row: object, event: Event) -> Event:
    return event
