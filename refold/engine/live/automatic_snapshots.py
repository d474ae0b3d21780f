"""Snapshots that a live projection makes unasked: when one is due, and which are kept."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.engine.lifecycle.retention import Left, log_left
from refold.errors import NoSnapshot, ProjectionBusy
from refold.messages.live import SnapshotTally
from refold.projection.declaration import Projection
from refold.projection.snapshot_policy import MADE_BY_ITSELF
from refold.source.event_counts import count_of_types
from refold.store import leases, snapshots
from refold.store.generations import Generation
from refold.store.schema import runs


async def tally(
    connection: AsyncConnection,
    projection: Projection,
    before: SnapshotTally | None,
    *,
    began: int,
    position: int,
) -> SnapshotTally | None:
    """Counts the events applied since the latest snapshot, each position of the log once.

    Args:
        connection: In autocommit.
        projection: In its highest version.
        before: What was counted before; None at first.
        began: The checkpoint when the segment began.
        position: The checkpoint now.

    Returns:
        None when the projection makes no snapshots unasked.
    """
    counted = projection.snapshots.counted(projection.event_types)
    if counted is None:
        return None
    types, every = counted
    if before is None:
        # Events that trigger one do so when they are applied, not whenever they are found.
        since = began if projection.snapshots.trigger_on else 0
        before = SnapshotTally(since=since, upto=since)
    newest = max(
        (s.position or 0 for s in await snapshots.newest_first(connection, projection.name)),
        default=0,
    )
    if newest > before.since:
        before = SnapshotTally(since=newest, upto=newest)
    if position < before.upto:  # set back
        before = SnapshotTally(since=position, upto=position)
    events = before.events + await count_of_types(
        connection, types, after=before.upto, upto=position, most=every - before.events
    )
    # While somebody writes the projection it waits: the run would be refused.
    free = await leases.holder(connection, projection.name) is None
    return SnapshotTally(
        since=before.since, upto=position, events=events, due=events >= every and free
    )


async def drop_expired_snapshots(
    engine: AsyncEngine, projection: Projection, *, left: Left = log_left
) -> list[int]:
    """Drops snapshots that the projection has made unasked, but for the latest ones.

    Nothing is dropped while a run holds the projection, as it may be about to copy one of them.

    Returns:
        The generations that were dropped.
    """
    keep = projection.snapshots.keep_last
    if keep is None:
        return []
    async with engine.connect() as connection:
        own = await _made_by_itself(connection, projection.name)
    dropped = []
    for one in own[keep:]:
        try:
            async with engine.begin() as connection:
                await snapshots.drop(connection, projection.name, one.generation)
        except (NoSnapshot, ProjectionBusy):
            continue  # another worker was first; or it is for later
        except DBAPIError as error:
            left(one, error)
            continue
        dropped.append(one.generation)
    return dropped


async def _made_by_itself(connection: AsyncConnection, name: str) -> list[Generation]:
    there = await snapshots.newest_first(connection, name)
    asked = select(runs.c.run_id).where(
        runs.c.run_id.in_([one.run_id for one in there]), runs.c.requested_by == MADE_BY_ITSELF
    )
    own = set((await connection.execute(asked)).scalars())
    return [one for one in there if one.run_id in own]
