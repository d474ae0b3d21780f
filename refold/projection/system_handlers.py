"""How functions become handlers of a projection's system events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, overload

from refold.system_events.events import SystemEvent
from refold.system_events.handlers import E1, E2, E3, Handle, SystemHandler, on_system_event


class HandlesSystemEvents:
    """What has system events, under a name, and handlers of them."""

    name: str
    system_handlers: list[SystemHandler]

    @overload
    def on_system_event(
        self, e1: type[E1], /, *, max_attempts: int = ...
    ) -> Callable[[Handle[E1]], SystemHandler]: ...

    @overload
    def on_system_event(
        self, e1: type[E1], /, *, handler: Handle[E1], max_attempts: int = ...
    ) -> Self: ...

    @overload
    def on_system_event(
        self, e1: type[E1], e2: type[E2], /, *, max_attempts: int = ...
    ) -> Callable[[Handle[E1 | E2]], SystemHandler]: ...

    @overload
    def on_system_event(
        self, e1: type[E1], e2: type[E2], /, *, handler: Handle[E1 | E2], max_attempts: int = ...
    ) -> Self: ...

    @overload
    def on_system_event(
        self, e1: type[E1], e2: type[E2], e3: type[E3], /, *, max_attempts: int = ...
    ) -> Callable[[Handle[E1 | E2 | E3]], SystemHandler]: ...

    @overload
    def on_system_event(
        self,
        e1: type[E1],
        e2: type[E2],
        e3: type[E3],
        /,
        *,
        handler: Handle[E1 | E2 | E3],
        max_attempts: int = ...,
    ) -> Self: ...

    @overload
    def on_system_event(
        self,
        *events: type[SystemEvent],
        max_attempts: int = ...,
    ) -> Callable[[Handle[Any]], SystemHandler]: ...

    @overload
    def on_system_event(
        self,
        e1: type[SystemEvent],
        e2: type[SystemEvent],
        e3: type[SystemEvent],
        e4: type[SystemEvent],
        /,
        *more: type[SystemEvent],
        handler: Handle[Any],
        max_attempts: int = ...,
    ) -> Self: ...

    def on_system_event(
        self,
        *events: type[SystemEvent],
        handler: Handle[Any] | None = None,
        max_attempts: int = 10,
    ) -> Callable[[Handle[Any]], SystemHandler] | Self:
        """Makes a function a handler of these system events of this projection.

        Unlike handlers of events it is run outside of any transaction, and may have effects: see
        `refold.on_system_event`.

        Args:
            events: Classes of system events.
            handler: The function: then the projection is returned. When left out, what is returned
                decorates the function.
            max_attempts: How often it is tried with one event, from 1.

        Raises:
            InvalidProjection: No type is given, or something that is none.
        """
        made = on_system_event(*events, projection=self.name, max_attempts=max_attempts)

        def register(handle: Handle[Any]) -> SystemHandler:
            made_of = made(handle)
            self.system_handlers.append(made_of)
            return made_of

        if handler is None:
            return register
        register(handler)
        return self
