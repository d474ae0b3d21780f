"""What a run is going to do, for people: its size, its time, its swap."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.planning.forecast import foretell
from refold.messages.run.plan import Plan
from refold.messages.run.preview import Preview
from refold.projection.declaration import Projection
from refold.source.slices import count_keys
from refold.store import generations, runs
from refold.store.generations import BUILDING, RETAINED, UNMANAGED, Generation, own_schema
from refold.store.swap.swap import plan_swap
from refold.store.tables import read_models

# Before a projection has a run of its own to go by, in events a second.
_CAUTIOUS_RATE = 25_000.0
# What a row takes beside its values, with one index; before there is a live table to go by.
_BYTES_PER_ROW = 200

_SIZE = text(
    "SELECT reltuples AS rows, pg_total_relation_size(oid) AS bytes FROM pg_class "
    "WHERE oid = to_regclass(:name)"
)


async def preview(
    connection: AsyncConnection,
    projection: Projection,
    plan: Plan,
    active: Generation | None,
    *,
    exact: bool,
    selected_events: int | None = None,
) -> Preview:
    """Looks at what there is, and changes nothing.

    Args:
        connection: Any connection.
        projection: In the version that folds.
        plan: What is going to be done.
        active: What readers query now.
        exact: Count the keys, which reads all events once more, and fold some of them; else they
            are estimated.
        selected_events: How many events name the keys that are repaired; None for all keys.
    """
    live = await read_models.live_schema(connection, projection)
    name = read_models.quoted(live, projection.table.name)
    size = (await connection.execute(_SIZE, {"name": name})).first()
    keys: int | None = round(size.rows) if size is not None and size.rows > 0 else None
    if plan.selected_keys is not None:
        keys = plan.selected_keys
    elif exact and projection.key_paths is not None:
        keys = await count_keys(connection, projection, upto=plan.head)
    swaps = plan.atomic or plan.backup is not None
    adds_table = swaps or plan.copies is not None
    per_row = size.bytes / size.rows if size is not None and size.rows > 0 else _BYTES_PER_ROW
    rate = await runs.latest_rate(connection, projection.name) or _CAUTIOUS_RATE
    rate = min(rate, plan.pacing.events_per_second or rate)
    shown = Preview(
        projection=projection.name,
        version=projection.version,
        replaces_version=active.version if active is not None else None,
        position=plan.head,
        total_events=plan.total_events,
        keys=keys,
        partitions=plan.partitions,
        max_concurrency=plan.max_concurrency,
        batch_size=plan.batch_size,
        estimated_seconds=round(plan.total_events / rate, 1),
        estimated_bytes=round(keys * per_row) if adds_table and keys is not None else None,
        generation=plan.generation,
        atomic=plan.atomic,
        backup=plan.backup,
        keep_backup=plan.backup is not None and plan.keep_backup,
        rollback_on_failure=plan.rollback_on_failure,
        note=plan.note,
        selection=plan.selection,
        selected_events=selected_events,
        selected_keys=plan.selected_keys,
        lookups=list(projection.lookups),
        foretold=await foretell(connection, projection, plan, active) if exact else None,
    )
    if not swaps:
        return shown
    target = _future(plan if plan.atomic else plan.bringing_back(), projection)
    old = active or await _unmanaged(connection, projection, live)
    swap = await plan_swap(connection, projection, target, old, dry=True)
    attached = swap.attachments
    return shown.model_copy(
        update={
            "carried": list(attached.carried),
            "refused": list(attached.refused),
            "swap": swap.sql if plan.atomic else [],
            "note": "; ".join(filter(None, [shown.note, *attached.notes])) or None,
        }
    )


def _future(plan: Plan, projection: Projection) -> Generation:
    """The generation that the plan puts live, as it will be."""
    return Generation(
        projection=plan.projection,
        generation=plan.generation,
        version=plan.version,
        status=BUILDING,
        schema_name=own_schema(plan.projection, plan.generation),
        table_name=projection.table.name,
        position=None,
        rows=None,
        built_with=None,
        run_id=plan.run_id,
        created_at=generations.NOT_YET,
        swapped_at=None,
    )


async def _unmanaged(
    connection: AsyncConnection, projection: Projection, live: str
) -> Generation | None:
    """The table that stands there without Refold knowing it, as it will be adopted."""
    if not await read_models.exists(connection, live, projection.table.name):
        return None
    return Generation(
        projection=projection.name,
        generation=await generations.highest(connection, projection.name) + 2,
        version=UNMANAGED,
        status=RETAINED,
        schema_name=live,
        table_name=projection.table.name,
        position=None,
        rows=None,
        built_with=None,
        run_id=None,
        created_at=generations.NOT_YET,
        swapped_at=None,
    )
