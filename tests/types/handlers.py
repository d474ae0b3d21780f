"""Documented ways of declaring handlers pass, and a handler of the wrong event does not.

`make lint` has mypy --strict look at this, with the plugin of pydantic and, as a user may, without
it. Whatever is marked as an error must be one: mypy refuses marks that are not needed.
"""

from __future__ import annotations

from dataclasses import dataclass

from refold import (
    Event,
    Projection,
    ProjectionBackfillCompleted,
    ProjectionFailed,
    ProjectionStarted,
    Row,
    SystemEventContext,
    TypedEvent,
    on_system_event,
    upcast,
)


@dataclass
class Placed:
    """An event's data."""

    total: int


@dataclass
class Paid:
    """Another event's data."""

    total: int


def right(p: Projection) -> Projection:
    """Each of these is documented."""

    @on_system_event(ProjectionFailed)
    async def one(event: ProjectionFailed, context: SystemEventContext) -> None: ...

    @on_system_event(ProjectionFailed, ProjectionStarted, projection="p", max_attempts=3)
    def two(event: ProjectionFailed | ProjectionStarted, context: SystemEventContext) -> None: ...

    @p.on_system_event(ProjectionFailed, ProjectionStarted, ProjectionBackfillCompleted)
    def three(
        event: ProjectionFailed | ProjectionStarted | ProjectionBackfillCompleted,
        context: SystemEventContext,
    ) -> None: ...

    def alert(event: ProjectionFailed, context: SystemEventContext) -> None:
        print(event.message)

    @p.on("A", "B")
    def plain(row: Row | None, event: Event) -> Row:
        return {"total": event.data["total"]}

    @p.on(Placed)
    def typed(row: Row | None, event: TypedEvent[Placed]) -> Row:
        total: int = event.data.total + event.position
        return {"total": total}

    @p.on(Placed, Paid)
    def either(row: Row | None, event: TypedEvent[Placed | Paid]) -> Row | None:
        return None if isinstance(event.data, Paid) else {"total": event.data.total}

    @upcast("Placed", from_version=1)
    def newer(event: Event) -> dict[str, int]:
        return {"total": event.data["sum"]}

    built: Projection = p.on_system_event(ProjectionFailed, handler=alert).with_snapshots(
        every_n_events=1000, keep_last=5
    )
    return built


def wrong(p: Projection) -> None:
    """Each of these is of another event than its handler's."""

    @on_system_event(ProjectionFailed)  # type: ignore[arg-type]
    def one(event: ProjectionStarted, context: SystemEventContext) -> None: ...

    @p.on_system_event(ProjectionFailed, ProjectionStarted)  # type: ignore[arg-type]
    def two(event: ProjectionFailed, context: SystemEventContext) -> None: ...

    def started(event: ProjectionStarted, context: SystemEventContext) -> None: ...

    p.on_system_event(ProjectionFailed, handler=started)  # type: ignore[arg-type]

    @p.on(Placed)  # type: ignore[arg-type]
    def of_another(row: Row | None, event: TypedEvent[Paid]) -> Row | None: ...

    @p.on(Placed)  # type: ignore[arg-type]
    def of_none(row: Row | None, event: Event) -> Row | None: ...

    @p.on("Placed")  # type: ignore[arg-type]
    def of_one(row: Row | None, event: TypedEvent[Placed]) -> Row | None: ...

    @upcast("Placed", from_version=1)  # type: ignore[type-var]
    def whole(event: Event) -> Event:
        return event
