"""What metrics and notifications tell of a projection beside its lag: ages, letters, who waits."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Float, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.dead_letters import DeadLetter
from refold.store import dead_letters, generations
from refold.store.schema import dead_letters as dead_letter_rows
from refold.store.schema import generations as generation_rows
from refold.store.schema import runs, system_events
from refold.store.system_events import awaiting_key
from refold.system_events.events import ProjectionCheckpointSaved


@dataclass(frozen=True)
class Figures:
    """What is known of a projection that has a live table.

    Attributes:
        generation_age: Seconds since its table went live.
        checkpoint_age: Seconds since its checkpoint was last reported to have moved, or since the
            table went live. It moves by events, so it ages where none come.
        dead_letters: How many the live generation has.
    """

    generation_age: float
    checkpoint_age: float
    dead_letters: int


def _age(moment: ColumnElement[object]) -> ColumnElement[float]:
    return func.extract("epoch", func.clock_timestamp() - moment).cast(Float)


async def figures_of(connection: AsyncConnection, projection: str) -> Figures | None:
    """A projection's figures; None when no table of it is live."""
    active = await generations.active(connection, projection)
    if active is None:
        return None
    live = generation_rows.c
    went_live = func.coalesce(live.swapped_at, live.created_at)
    row = generations.row_of(projection, active.generation)
    generation_age = await connection.scalar(select(_age(went_live)).where(row))
    saved = (
        select(_age(system_events.c.recorded_at))
        .where(
            system_events.c.projection == projection,
            system_events.c.type == ProjectionCheckpointSaved.__name__,
        )
        .order_by(system_events.c.number.desc())
        .limit(1)
    )
    checkpoint_age = await connection.scalar(saved)
    letters = await dead_letters.count(connection, projection, active.generation)
    since = max(0.0, generation_age or 0.0)
    moved = since if checkpoint_age is None else min(since, max(0.0, checkpoint_age))
    return Figures(since, moved, letters)


async def awaiting(connection: AsyncConnection, projection: str) -> tuple[str, float] | None:
    """The run at hand that was said to await approval: its workflow id, and since how many seconds.

    Whether it still does, its workflow knows.
    """
    statement = (
        select(runs.c.workflow_id, _age(system_events.c.recorded_at).label("seconds"))
        .join(
            system_events,
            (system_events.c.projection == runs.c.projection)
            & (system_events.c.key == func.concat(runs.c.run_id, awaiting_key(""))),
        )
        .where(runs.c.projection == projection, runs.c.ended_at.is_(None))
        .order_by(system_events.c.number.desc())
        .limit(1)
    )
    row = (await connection.execute(statement)).first()
    return None if row is None else (row.workflow_id, max(0.0, row.seconds))


async def set_aside_by(
    connection: AsyncConnection, projection: str, generation: int, run_id: str | None
) -> tuple[int, DeadLetter] | None:
    """How many letters of a generation a run has set aside, and the latest of them, if any.

    Args:
        connection: Any connection.
        projection: The projection.
        generation: The generation.
        run_id: The run; None for the live projection.
    """
    letters = dead_letter_rows.c
    of_it = letters.run_id.is_not_distinct_from(run_id)
    statement = select(*(letters[name] for name in DeadLetter.model_fields)).where(
        letters.projection == projection, letters.generation == generation, of_it
    )
    statement = statement.order_by(letters.id.desc()).limit(1)
    latest = (await connection.execute(statement)).first()
    if latest is None:
        return None
    counted = await dead_letters.count(connection, projection, generation, of_it)
    return counted, DeadLetter(**latest._mapping)
