"""Handlers of system events: where effects belong, as projections' own handlers are pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, overload

from refold.errors import InvalidProjection
from refold.system_events.events import SystemEvent


class SystemEventContext(ABC):
    """What a handler is told beside the event.

    Attributes:
        id: The same at each delivery of this event: a key for doing its effect only once.
        recorded_at: When the event was recorded.
        correlation_id: The same for a request and for everything that comes of it.
        retry_attempt: How often the projection had been tried again before it failed; 0 for any
            event that is not a failure.
        delivery_attempt: How often this handler has been given the event, this time included.
    """

    id: str
    recorded_at: datetime
    correlation_id: str | None
    retry_attempt: int
    delivery_attempt: int

    @abstractmethod
    async def publish(self, event: SystemEvent) -> str:
        """Publishes another event, and returns its correlation id.

        The event is published once, even if the handler is run again. An event that asks for
        something starts it. It gets the correlation id of this event unless it has its own.
        """


E1 = TypeVar("E1", bound=SystemEvent)
E2 = TypeVar("E2", bound=SystemEvent)
E3 = TypeVar("E3", bound=SystemEvent)

Handle = Callable[[E1, SystemEventContext], Awaitable[None] | None]
"""A function of a system event and its context; it may be plain or async."""


@dataclass(frozen=True)
class SystemHandler:
    """A function that is given system events, in order, each at least once.

    Attributes:
        name: Where it was defined: ``module:function``. Refold remembers by this name how far the
            handler has come.
        events: The types that it is given.
        handle: The function.
        projection: Only events of this projection; None for all.
        max_attempts: How often it is tried with an event before it goes on with the next.
    """

    name: str
    events: tuple[type[SystemEvent], ...]
    handle: Handle[Any] = field(repr=False)
    projection: str | None = None
    max_attempts: int = 10

    def __call__(self, event: SystemEvent, context: SystemEventContext) -> Awaitable[None] | None:
        """Runs the function."""
        return self.handle(event, context)

    @property
    def types(self) -> dict[str, type[SystemEvent]]:
        """The types that it is given, by name."""
        return {kind.__name__: kind for kind in self.events}


@overload
def on_system_event(
    e1: type[E1], /, *, projection: str | None = ..., max_attempts: int = ...
) -> Callable[[Handle[E1]], SystemHandler]: ...


@overload
def on_system_event(
    e1: type[E1], e2: type[E2], /, *, projection: str | None = ..., max_attempts: int = ...
) -> Callable[[Handle[E1 | E2]], SystemHandler]: ...


@overload
def on_system_event(
    e1: type[E1],
    e2: type[E2],
    e3: type[E3],
    /,
    *,
    projection: str | None = ...,
    max_attempts: int = ...,
) -> Callable[[Handle[E1 | E2 | E3]], SystemHandler]: ...


@overload
def on_system_event(
    *events: type[SystemEvent],
    projection: str | None = ...,
    max_attempts: int = ...,
) -> Callable[[Handle[Any]], SystemHandler]: ...


def on_system_event(
    *events: type[SystemEvent], projection: str | None = None, max_attempts: int = 10
) -> Callable[[Handle[Any]], SystemHandler]:
    """Makes the decorated function a handler of these system events.

    It must be found where projections are: in a module that REFOLD_PROJECTIONS names. A type
    checker sees whether the function takes these events.

    Args:
        events: Classes of system events, Refold's or the application's own.
        projection: Only events of this projection; None for all.
        max_attempts: How often it is tried with one event, from 1; the pauses grow. After the last
            attempt a `SystemHandlerFailed` is recorded, and the handler goes on with the next
            event.

    Raises:
        InvalidProjection: No class of system events is given, or something else is.
    """
    if not events or not all(isinstance(e, type) and issubclass(e, SystemEvent) for e in events):
        raise InvalidProjection(
            "on_system_event(): expected classes of system events, such as ProjectionFailed, "
            f"got {events!r}"
        )
    if max_attempts < 1:
        raise InvalidProjection(f"max_attempts: expected 1 or more, got {max_attempts}")

    def register(handle: Handle[Any]) -> SystemHandler:
        name = f"{handle.__module__}:{handle.__qualname__}"
        return SystemHandler(name, events, handle, projection, max_attempts)

    return register
