"""A snapshot that is kept as changes, as the rows of a new generation."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding.created_json import restored
from refold.errors import RunEnded
from refold.messages.run.plan import Plan
from refold.projection.declaration import Projection
from refold.runtime.database import raw
from refold.runtime.threads import Hand, in_thread
from refold.store import generations
from refold.store.generations import Generation
from refold.store.snapshots import changes, json_rows, kept, letters, rebuilt
from refold.store.snapshots.kept import Kept
from refold.store.tables import read_models
from refold.store.tables.rows import RowStore


async def restore_snapshot(
    connection: AsyncConnection,
    projection: Projection,
    plan: Plan,
    copy: Generation,
    source: Generation,
) -> int:
    """Gives a bare generation a snapshot's rows, letters and checkpoint; returns how many rows.

    Args:
        connection: In a transaction whose statements all see one state.
        projection: In the version that takes the snapshot.
        plan: It names the snapshot.
        copy: The generation that is filled.
        source: The generation that the snapshot is of.

    Raises:
        RunEnded: The snapshot is gone.
        SnapshotRejected: `restore` makes no row of what another version's `create` has kept.
    """
    snapshot = await kept.get(connection, plan.snapshot or 0)
    if snapshot is None:
        raise RunEnded(f"the snapshot of position {plan.position} is gone")
    if snapshot.version == projection.version:
        rows = await rebuilt.fill(connection, projection, copy, source, snapshot)
    else:
        rows = await _converted(connection, projection, copy, snapshot)
    removed: list[dict[str, object]] = []
    async for changed in changes.since(connection, snapshot):
        removed += changed["letters"]
    await letters.copy_as_of(
        connection,
        snapshot.projection,
        source.generation,
        copy.generation,
        last=snapshot.last_letter,
        removed=removed,
    )
    await generations.set_loaded(connection, projection.name, copy.generation, snapshot.position)
    return rows


async def _converted(
    connection: AsyncConnection, projection: Projection, copy: Generation, snapshot: Kept
) -> int:
    """The rows that this version makes of what another one has kept."""
    rows = RowStore(read_models.physical(projection, copy.schema_name))
    driver, count = await raw(connection), 0
    async for made in json_rows.as_of(connection, snapshot, copy.schema_name):
        hand = Hand(projection.name)
        mine = await in_thread(lambda some=made: list(restored(projection, rows, some)), hand=hand)
        await rows.load(driver, mine)
        count += len(mine)
    return count
