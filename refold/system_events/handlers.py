"""Handlers of system events: where effects belong, as projections' own handlers are pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from refold.errors import InvalidProjection
from refold.system_events.events import SystemEvent


class SystemEventContext(ABC):
    """What a handler is told beside the event.

    Attributes:
        id: The same at each delivery of this event: a key for doing its effect only once.
        recorded_at: When the event was recorded.
        correlation_id: Ties what comes of a request to the request.
        retry_attempt: Of a failure: how often it had been tried again before; else 0.
        delivery_attempt: The how manieth time this handler is given the event, from 1.
    """

    id: str
    recorded_at: datetime
    correlation_id: str | None
    retry_attempt: int
    delivery_attempt: int

    @abstractmethod
    async def publish(self, event: SystemEvent) -> str:
        """Publishes another event, once even if the handler is run again; its correlation id.

        What asks for something starts it. The correlation id is this event's unless it has one.
        """


Handle = Callable[[Any, SystemEventContext], Awaitable[None] | None]
"""A system event and its context in; plain or async."""


@dataclass(frozen=True)
class SystemHandler:
    """A function that is given system events, in order, each at least once.

    Attributes:
        name: Where it was defined: ``module:function``. It keeps its place in the events by it.
        events: The types that it is given.
        handle: The function.
        projection: Only events of this projection; None for all.
        max_attempts: How often it is tried with an event before it goes on with the next.
    """

    name: str
    events: tuple[type[SystemEvent], ...]
    handle: Handle = field(repr=False)
    projection: str | None = None
    max_attempts: int = 10

    def __call__(self, event: SystemEvent, context: SystemEventContext) -> Awaitable[None] | None:
        """Runs the function."""
        return self.handle(event, context)

    @property
    def types(self) -> dict[str, type[SystemEvent]]:
        """The types that it is given, by name."""
        return {kind.__name__: kind for kind in self.events}


def on_system_event(
    *events: type[SystemEvent], projection: str | None = None, max_attempts: int = 10
) -> Callable[[Handle], SystemHandler]:
    """Makes the decorated function a handler of these system events.

    It must be found where projections are: in a module that REFOLD_PROJECTIONS names.

    Args:
        events: Classes of system events, Refold's or the application's own.
        projection: Only events of this projection; None for all.
        max_attempts: How often it is tried with an event, from 1, later and later. Then the event
            is given up, a `SystemHandlerFailed` recorded, and it goes on with the next.

    Raises:
        InvalidProjection: No type is given, or something that is none.
    """
    if not events or not all(isinstance(e, type) and issubclass(e, SystemEvent) for e in events):
        raise InvalidProjection(
            "on_system_event(): expected classes of system events, such as ProjectionFailed, "
            f"got {events!r}"
        )
    if max_attempts < 1:
        raise InvalidProjection(f"max_attempts: expected 1 or more, got {max_attempts}")

    def register(handle: Handle) -> SystemHandler:
        name = f"{handle.__module__}:{handle.__qualname__}"
        return SystemHandler(name, events, handle, projection, max_attempts)

    return register
