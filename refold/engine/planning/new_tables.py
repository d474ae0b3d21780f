"""The tables that a plan needs beside those that there are: a shadow, or a backup."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.cutover.indexes import add_indexes
from refold.messages.run.plan import Plan
from refold.projection.declaration import Projection
from refold.source.port.current import event_source
from refold.store import dead_letters, generations
from refold.store.gaps import late_events
from refold.store.generations import BUILDING, RETAINED, Generation
from refold.store.swap.swap import plan_swap, require_none_refused
from refold.store.tables import read_models


async def make_tables(
    connection: AsyncConnection,
    plan: Plan,
    projection: Projection,
    active: Generation | None,
    *,
    loaded: bool,
) -> None:
    """Makes the shadow of an atomic run, or the backup of one in place, if it has any.

    A shadow that nothing is refolded into is loaded as it is: following begins at the beginning.
    """
    if plan.atomic:
        await _make_shadow(connection, plan, projection, active, loaded=loaded)
    elif plan.backup is not None:
        assert active is not None
        await _make_backup(connection, plan, projection, active)


async def _make_shadow(
    connection: AsyncConnection,
    plan: Plan,
    projection: Projection,
    active: Generation | None,
    *,
    loaded: bool,
) -> None:
    begin = event_source().before if loaded else None
    shadow = await _create(connection, plan, projection, BUILDING, begin)
    if plan.copies is None:  # nothing was read for it yet
        newest = await late_events.newest(connection, event_source().name)
        await late_events.set_late_to(connection, shadow.projection, shadow.generation, newest)
    await read_models.create_shadow(connection, projection, shadow.schema_name)
    if loaded:  # a copy gets its indexes when it is filled
        await add_indexes(connection, projection, shadow)
    # Now its columns can be looked at, too.
    swap = await plan_swap(connection, projection, shadow, active)
    require_none_refused(swap.attachments.refused, projection.table.fullname)


async def _make_backup(
    connection: AsyncConnection, plan: Plan, projection: Projection, active: Generation
) -> None:
    # Held, so that the copy and its checkpoint agree.
    held = await generations.hold_position(connection, projection.name, active.generation)
    backup = await _create(connection, plan, projection, RETAINED, held)
    await read_models.create_copy(
        connection, projection, backup.schema_name, source=active.schema_name
    )
    await add_indexes(connection, projection, backup, refers=False)
    await connection.execute(
        dead_letters.copied(projection.name, active.generation, backup.generation)
    )


async def _create(
    connection: AsyncConnection,
    plan: Plan,
    projection: Projection,
    status: str,
    position: int | None,
) -> Generation:
    made = await generations.create(
        connection,
        projection.name,
        version=plan.version,
        status=status,
        schema_name=None,
        table_name=projection.table.name,
        position=position,
        run_id=plan.run_id,
    )
    planned = plan.generation if plan.atomic else plan.backup
    assert made.generation == planned, "the lease keeps others from making generations"
    return made
