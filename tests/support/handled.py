"""A projection with a handler of its system events, and one of all projections'."""

from __future__ import annotations

from sqlalchemy import Column, MetaData, Table, Text

from refold import (
    Event,
    Projection,
    ProjectionFailed,
    ProjectionStopped,
    Row,
    SystemEventContext,
    on_system_event,
)

handled = Projection(
    "handled",
    table=Table("handled", MetaData(), Column("id", Text, primary_key=True)),
    key="stream_id",
)


@handled.on("Added")
def added(row: Row | None, event: Event) -> Row:
    """A row for each stream."""
    return {}


@handled.on_system_event(ProjectionFailed)
async def alert(event: ProjectionFailed, context: SystemEventContext) -> None:
    """Would tell somebody."""


@on_system_event(ProjectionStopped)
def note(event: ProjectionStopped, context: SystemEventContext) -> None:
    """Would write it down."""


@on_system_event(ProjectionFailed, projection="handled")
def another(event: ProjectionFailed, context: SystemEventContext) -> None:
    """Would do something else."""
