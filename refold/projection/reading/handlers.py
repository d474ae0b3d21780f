"""The handlers of a projection, by the type of the stored events that they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from refold.errors import InvalidProjection
from refold.event import Event, TypedEvent
from refold.projection.keys.part import KeyPart
from refold.projection.keys.rule import KeyRule
from refold.projection.reading.declared import Chain
from refold.projection.reading.models import Model
from refold.projection.reading.upcasting import UPCASTERS

Row = dict[str, Any]
"""One row of a read model: column name to value, key columns included."""

Handler = Callable[[Row | None, Event], Row | None]
"""The row so far (None: there is none) and an event in; the row after (None: delete it) out."""

D1 = TypeVar("D1")
D2 = TypeVar("D2")

TypedHandler = Callable[[Row | None, TypedEvent[D1]], Row | None]
"""A `Handler` of events whose data are an instance of a class."""

Parts = tuple[KeyPart, ...]


class Handlers:
    """The handlers of a projection.

    What is called for an event is the declared function itself, unless its data are validated or
    there are upcasters for its type: these cost nothing where they are not used.

    Args:
        projection: Its name, for errors.
        key: Its key; stored events that come out as another type have that type's.

    Attributes:
        by_type: What to call for a stored event of each type that is read: the same object for
            good, which is kept up as upcasters are declared.
    """

    def __init__(self, projection: str, key: KeyRule) -> None:
        self._projection = projection
        self._key = key
        self._own_keys: dict[str, Parts] = {}
        self._declared: dict[str, Handler] = {}
        self.by_type: dict[str, Handler] = {}
        UPCASTERS.follow(self)

    def add(
        self,
        types: tuple[str | type[Any], ...],
        handler: Handler | TypedHandler[Any],
        key: Parts | None = None,
    ) -> None:
        """Adds a handler for event types, and for classes of events.

        Args:
            types: Names of types, and classes.
            handler: What is called for their events.
            key: Their own key; None for the projection's.

        Raises:
            InvalidProjection: A type has a handler already, or a class is not one of events, or
                reads a part of the key from another name.
        """
        try:
            made = self._made(types, handler, self._key.own if key is None else key)
        except InvalidProjection as wrong:
            raise InvalidProjection(f"{self._projection}: {wrong}") from None
        self._declared.update(made)
        if key is not None:
            self._own_keys.update(dict.fromkeys(made, key))
            self._key.set_parts([*made], key)
        self.refresh([*made, *UPCASTERS.chains])

    def _made(
        self,
        types: tuple[str | type[Any], ...],
        handler: Handler | TypedHandler[Any],
        key: Parts,
    ) -> dict[str, Handler]:
        made: dict[str, Handler] = {}
        for one in types:
            if isinstance(one, str):
                event_type, handle = one, cast(Handler, handler)
            else:
                model = Model(one)
                for part in key:
                    for path in part.reads:
                        model.require_stored(path)
                event_type = model.type
                handle = _typed(cast(TypedHandler[Any], handler), model)
            if event_type in self._declared or event_type in made:
                raise InvalidProjection(f"{event_type!r} has a handler already")
            made[event_type] = handle
        return made

    def refresh(self, types: Iterable[str]) -> None:
        """Finds anew what is called for stored events of these types."""
        for stored in types:
            chain = UPCASTERS.chains.get(stored)
            if chain is not None and not self._declared.keys().isdisjoint({stored, *chain.ends}):
                self.by_type[stored] = _upcast(chain, self._declared)
                keys = self._keys_of(stored)
                if stored not in self._declared and len(keys) == 1 and None not in keys:
                    self._key.set_parts([stored], *keys)
            elif stored in self._declared:
                self.by_type[stored] = self._declared[stored]
            else:
                self.by_type.pop(stored, None)

    def _keys_of(self, stored: str) -> set[Any]:
        """The keys that the types have which stored events come out as; None for the common one."""
        ends = UPCASTERS.chains[stored].ends & self._declared.keys()
        return {self._own_keys.get(end) for end in ends}

    @property
    def upcast(self) -> dict[str, list[int]]:
        """The stored types that upcasters bring up to date, each with the versions they take."""
        return {stored: UPCASTERS.versions(stored) for stored in sorted(self._upcast)}

    @property
    def _upcast(self) -> list[str]:
        return [stored for stored in UPCASTERS.chains if stored in self.by_type]

    def require_whole(self) -> None:
        """Refuses upcasters that leave events on the way, or lead them away from their handler.

        Raises:
            InvalidProjection: There are some, for a type that is read here.
        """
        for stored in self._upcast:
            UPCASTERS.require_whole(stored)
            gone = UPCASTERS.chains[stored].ends - self._declared.keys()
            if stored in self._declared and gone:
                raise InvalidProjection(
                    f"{self._projection}: upcasters make {', '.join(sorted(gone))} of {stored!r}: "
                    f"expected a handler for that, too, got one for {stored!r} alone: its events "
                    "would be passed over"
                )
            if stored not in self._declared and len(self._keys_of(stored)) > 1:
                raise InvalidProjection(
                    f"{self._projection}: upcasters make events of several keys of {stored!r}: "
                    f"expected one, as it is stored: name it, too: "
                    f"@projection.on({stored!r}, key=…)"
                )


def _typed(handler: TypedHandler[Any], model: Model) -> Handler:
    """The handler, given an event whose data are an instance of a class."""
    of, new = model.of, tuple.__new__

    def handle(row: Row | None, event: Event) -> Row | None:
        position, stream_id, version, kind, data, metadata, at = event
        given = (position, stream_id, version, kind, of(data), metadata, at)
        return handler(row, new(TypedEvent, given))

    return handle


def _upcast(chain: Chain, declared: dict[str, Handler]) -> Handler:
    """What calls the handler of the type that a stored event comes out as."""
    upcast = chain.upcast

    def handle(row: Row | None, event: Event) -> Row | None:
        newest = upcast(event)
        handler = declared.get(newest.type)
        return row if handler is None else handler(row, newest)

    return handle
