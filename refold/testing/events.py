"""Events of a test, written as short as they can be."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from refold.event import Event
from refold.projection.columns.exact_json import loads
from refold.projection.declaration import Projection

GivenEvent = Event | tuple[str, str, Mapping[str, Any]] | tuple[str, str, Mapping[str, Any], Any]
"""An `Event`, or ``(stream, type, data)``, or ``(stream, type, data, metadata)``."""

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def as_events(projection: Projection, given: Iterable[GivenEvent]) -> list[Event]:
    """The events as Refold reads them from a log.

    What a tuple does not say follows from those before it: the next position, the next version in
    its stream, one second later. The first is recorded at the beginning of 2026, or, if later, at
    the projection's `start_from`. Data are what JSON makes of them.

    Raises:
        TypeError: Something is no event, or JSON cannot say its data.
        ValueError: The position of an `Event` is not above the one before it.
    """
    made: list[Event] = []
    versions: Counter[str] = Counter()
    start = projection.start_from
    at = _BEGAN if start is None else max(_BEGAN, start)
    position = 0
    for number, one in enumerate(given, 1):
        if isinstance(one, Event):
            event = one
            if event.position <= position:
                raise ValueError(
                    f"event {number}: expected a position above {position}, that of the event "
                    f"before, got {event.position}"
                )
        else:
            stream, kind, data, metadata = _parts(number, one)
            version = versions[stream] + 1
            event = Event(position + 1, stream, version, kind, data, metadata, at)
        made.append(event)
        position = event.position
        versions[event.stream_id] = event.version
        at = event.recorded_at + timedelta(seconds=1)
    return made


def decoded(event: Event) -> Event:
    """The event as it is read once more: nothing that a handler did to it is there."""
    return event._replace(data=_copied(event.data), metadata=_copied(event.metadata))


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(inner) for name, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _parts(number: int, given: Any) -> tuple[str, str, dict[str, Any], dict[str, Any]]:
    if not isinstance(given, tuple) or len(given) not in (3, 4):
        raise TypeError(
            f"event {number}: expected an Event, (stream, type, data) or (stream, type, data, "
            f"metadata), got {given!r}"
        )
    stream, kind, data, *more = given
    if not (isinstance(stream, str) and isinstance(kind, str)):
        raise TypeError(f"event {number}: expected (stream, type, data), both texts, got {given!r}")
    return stream, kind, _as_json(number, "data", data), _as_json(number, "metadata", *more or [{}])


def _as_json(number: int, what: str, value: Any) -> dict[str, Any]:
    try:
        made = loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"event {number}: expected {what} that JSON can say, as an event store has them, got "
            f"{value!r}: {error}"
        ) from None
    if not isinstance(made, dict):
        raise TypeError(f"event {number}: expected {what} to be a dict, got {value!r}")
    return made
