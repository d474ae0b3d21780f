"""System events that ask for something, as they come in signals: accepted, or refused."""

from __future__ import annotations

from typing import Any, TypeVar

from refold.errors import InvalidRequest
from refold.requests.validation import accept_request
from refold.system_events.events import ProjectionRequest

E = TypeVar("E", bound=ProjectionRequest)


def accept_event(given: Any, kind: type[E], projection: str, *, default_id: str) -> E:
    """An event that asks for something, as it came in a signal.

    Args:
        given: Its fields; the projection may be left out.
        kind: The event's class.
        projection: The projection that was signalled.
        default_id: Its correlation id, if it has none.

    Raises:
        InvalidRequest: It is not such an event, or one for another projection.
    """
    if not isinstance(given, dict):
        raise InvalidRequest(
            f"{kind.__name__}: expected one JSON object with its fields, got {given!r:.100}"
        )
    named = {name: value for name, value in given.items() if value is not None}
    event = accept_request(
        [{"projection": projection, "correlation_id": default_id, **named}], kind
    )
    if event.projection != projection:
        raise InvalidRequest(
            f"projection: expected {projection!r}, whose workflow was signalled, got "
            f"{event.projection!r}: signal projection/{event.projection}"
        )
    return event
