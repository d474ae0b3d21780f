"""What travels of each event, and the event that handlers are given of it."""

from __future__ import annotations

from collections import namedtuple
from typing import Any, NoReturn

from refold.event import Event
from refold.projection.narrowed.reads import ALL

# Errors and watches name an event by these.
_ALWAYS = ("position", "stream_id", "type")
# All that a tuple can be asked for, but its fields.
_OF_TUPLES = (
    *("__iter__", "__getitem__", "__len__", "__contains__", "__hash__", "__repr__"),
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"),
    *("__add__", "__mul__", "__rmul__", "__reduce_ex__", "__getnewargs__"),
    *("count", "index", "_replace", "_asdict"),
)


class NotSent(BaseException):
    """Raised where somebody asks an event for what has not travelled.

    No ``except Exception`` of a handler catches it.
    """


class ReadsMore(Exception):
    """A handler has read what was not found in its code: all is to travel, from now on."""


class Sent:
    """What travels of each event.

    Args:
        read: The fields that handlers read.
        key_at: Where the key is among the fields, if it is one of them.

    Attributes:
        fields: The names of the fields that travel, in order.
        has_key_apart: Whether the key comes after the fields.
        places: Where the type is, the time (0 where it does not travel), and the key; and how many
            of the values make the event (0 where all do).
        is_whole: Whether all fields travel.
        event: The class of the events that are made of it. Where not all fields travel, its
            instances have these fields, and refuse all else by raising `NotSent`.
        missed: What was asked of an event and has not travelled; None as long as nothing was.
    """

    def __init__(self, read: frozenset[str] = ALL, key_at: int | None = None) -> None:
        self.is_whole = read >= ALL
        self.fields = tuple(name for name in Event._fields if name in read or name in _ALWAYS)
        count, at = len(self.fields), self.fields.index
        self.has_key_apart = key_at is None
        timed_at = at("recorded_at") if "recorded_at" in self.fields else 0
        key = count if key_at is None else key_at
        # What comes after its fields does no harm to an event that shows only these.
        cut = count if self.is_whole and key_at is None else 0
        self.places = at("type"), timed_at, key, cut
        self.missed: str | None = None
        self.event: type[Event] = Event if self.is_whole else self._narrowed()

    def require_enough(self) -> None:
        """Requires that no handler has asked for what has not travelled.

        Raises:
            ReadsMore: One has, whether or not it let anybody know.
        """
        if self.missed is not None:
            raise ReadsMore(self.missed)

    def _narrowed(self) -> type[Event]:
        # The quick descriptors that named tuples have: these look at the tuple itself.
        found = namedtuple("found", self.fields)  # type: ignore[misc]
        inner: dict[str, Any] = {"__slots__": (), "__module__": Event.__module__}
        inner.update({name: self._refusing(name) for name in _OF_TUPLES})
        for name in Event._fields:
            there = name in self.fields
            inner[name] = found.__dict__[name] if there else property(self._refusing(name))
        return type("Event", (Event,), inner)

    def _refusing(self, what: str) -> Any:
        def refuse(event: Event, *_: Any, **__: Any) -> NoReturn:
            self.missed = what
            raise NotSent(what)

        return refuse


WHOLE = Sent()
"""All of an event, and its key after that."""
