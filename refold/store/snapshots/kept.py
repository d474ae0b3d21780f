"""Table `refold.snapshots`: the snapshots that are kept as changes, each of one generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import NoSnapshot
from refold.messages.snapshots import SnapshotInfo
from refold.store import generations, leases
from refold.store.generations import BUILDING, Generation
from refold.store.schema import generations as all_generations
from refold.store.schema import snapshot_changes, snapshot_rows, snapshots


@dataclass(frozen=True)
class Kept:
    """A snapshot that is kept as changes.

    Attributes:
        id: Its number, in the order in which they were made.
        projection: Whose.
        generation: In whose table its rows are, as far as they have not changed since.
        version: The projection's version that made the rows.
        position: Every settled event up to here is in it, none after.
        trigger: The type of the event that made it due; None for one that was due by number.
        last_change: The last of the generation's changes that was kept before it.
        last_letter: The last dead letter that there was.
        has_json: Whether it has what the projection's `create` made of its rows.
        created_at: When it was made.
    """

    id: int
    projection: str
    generation: int
    version: int
    position: int
    trigger: str | None
    last_change: int
    last_letter: int
    has_json: bool
    created_at: datetime

    @property
    def described(self) -> SnapshotInfo:
        """What people are told of it."""
        return SnapshotInfo(
            generation=self.generation,
            version=self.version,
            position=self.position,
            rows=None,
            created_at=self.created_at,
            kept_as="changes",
            trigger=self.trigger,
            has_json=self.has_json,
        )


_COLUMNS = tuple(snapshots.c[name] for name in Kept.__dataclass_fields__)

# The same moment of the same version has the same rows in every generation. What a run is building
# is nobody's yet.
_MAKE = f"""
    INSERT INTO refold.snapshots
        (projection, generation, version, position, trigger, has_json, last_change, last_letter)
    SELECT $1, $2, $3, $4, $5, $6,
        (SELECT coalesce(max(id), 0) FROM refold.snapshot_changes
         WHERE projection = $1 AND generation = $2),
        (SELECT coalesce(max(id), 0) FROM refold.dead_letters)
    WHERE NOT EXISTS (
        SELECT FROM refold.snapshots s JOIN refold.generations g USING (projection, generation)
        WHERE s.projection = $1 AND s.version = $3 AND s.position = $4
          AND (g.generation = $2 OR g.status <> '{BUILDING}'))
    RETURNING id
"""
_BEYOND = f"""
    SELECT s.id FROM refold.snapshots s JOIN refold.generations g USING (projection, generation)
    WHERE s.projection = $1 AND (g.generation = $2 OR $2 IS NULL AND g.status <> '{BUILDING}')
    ORDER BY s.position DESC, s.id DESC OFFSET $3 FOR UPDATE OF s
"""
# A run that restores one has said so in its plan, under a lock of that snapshot. Changes that no
# snapshot is left for go with it.
_DROP = """
    WITH gone AS (
        DELETE FROM refold.snapshots s WHERE id = ANY ($2) AND NOT EXISTS (
            SELECT FROM refold.leases l JOIN refold.runs r USING (run_id)
            WHERE l.projection = $1 AND (r.plan ->> 'snapshot')::bigint = s.id
              AND r.run_id IS DISTINCT FROM $3)
        RETURNING id, generation),
    kept AS (
        SELECT g.generation, (
            SELECT min(k.last_change) FROM refold.snapshots k
            WHERE k.projection = $1 AND k.generation = g.generation
              AND k.id NOT IN (SELECT id FROM gone)) AS oldest
        FROM (SELECT DISTINCT generation FROM gone) g),
    changes AS (
        DELETE FROM refold.snapshot_changes c USING kept
        WHERE c.projection = $1 AND c.generation = kept.generation
          AND (kept.oldest IS NULL OR c.id <= kept.oldest))
    SELECT id FROM gone ORDER BY id
"""


async def make(
    driver: asyncpg.Connection[Any],
    generation: Generation,
    *,
    position: int,
    trigger: str | None,
    has_json: bool,
) -> int | None:
    """Makes a snapshot of a generation as it is now.

    Args:
        driver: In the transaction that moves the generation's checkpoint, at its end.
        generation: The generation.
        position: Its checkpoint.
        trigger: The type of the event that made it due, if one did.
        has_json: Whether `refold.snapshot_rows` has the generation's rows.

    Returns:
        Its id; None when the same rows have been kept before.
    """
    made: int | None = await driver.fetchval(
        _MAKE,
        generation.projection,
        generation.generation,
        generation.version,
        position,
        trigger,
        has_json,
    )
    return made


async def drop_beyond(
    driver: asyncpg.Connection[Any],
    projection: str,
    keep: int | None,
    *,
    building: int | None = None,
    run_id: str | None = None,
) -> list[int]:
    """Drops snapshots but for the latest, by position; one that is being restored stays.

    Args:
        driver: In a transaction.
        projection: Whose.
        keep: How many stay; None for all.
        building: Only those of this generation, which nobody reads yet; else of all others.
        run_id: The run that asks, when it has restored what it was going to.

    Returns:
        The ids of those that were dropped.
    """
    if keep is None:
        return []
    beyond = await driver.fetch(_BEYOND, projection, building, keep)
    if not beyond:
        return []
    ids = [record[0] for record in beyond]
    dropped = await driver.fetch(_DROP, projection, ids, run_id)
    return [record[0] for record in dropped]


async def newest_first(
    connection: AsyncConnection, projection: str, *, most: int | None = None
) -> list[Kept]:
    """A projection's snapshots, the latest position first; those of unfinished runs are left out.

    Args:
        connection: Any connection.
        projection: Whose.
        most: How many at most; None for all.
    """
    statement = (
        select(*_COLUMNS)
        .join(
            all_generations,
            (all_generations.c.projection == snapshots.c.projection)
            & (all_generations.c.generation == snapshots.c.generation),
        )
        .where(snapshots.c.projection == projection, all_generations.c.status != BUILDING)
        .order_by(snapshots.c.position.desc(), snapshots.c.id.desc())
        .limit(most)
    )
    return [Kept(*row) for row in await connection.execute(statement)]


async def get(connection: AsyncConnection, snapshot: int, *, lock: bool = False) -> Kept | None:
    """One snapshot by its id, locked against being dropped if asked."""
    statement = select(*_COLUMNS).where(snapshots.c.id == snapshot)
    row = (await connection.execute(statement.with_for_update() if lock else statement)).first()
    return None if row is None else Kept(*row)


async def newest_of(connection: AsyncConnection, projection: str, generation: int) -> Kept | None:
    """The latest snapshot of one generation."""
    statement = select(*_COLUMNS).where(
        snapshots.c.projection == projection, snapshots.c.generation == generation
    )
    row = (
        await connection.execute(statement.order_by(snapshots.c.position.desc()).limit(1))
    ).first()
    return None if row is None else Kept(*row)


async def drop(connection: AsyncConnection, projection: str, position: int) -> None:
    """Drops the snapshots of a position, in the caller's transaction.

    Raises:
        NoSnapshot: There is none of that position.
        ProjectionBusy: A run holds the projection: it may be about to restore it.
    """
    await connection.execute(text("SET LOCAL lock_timeout = '2s'"))
    there = await newest_first(connection, projection)
    ids = [one.id for one in there if one.position == position]
    for snapshot in ids:
        await get(connection, snapshot, lock=True)
    if not ids:
        raise NoSnapshot(projection, [one.position for one in there], position, by="position")
    lease = await leases.holder(connection, projection)
    if lease is not None:
        raise leases.busy(lease)
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    await driver.fetch(_DROP, projection, ids, None)


async def forget(connection: AsyncConnection, projection: str, generation: int) -> None:
    """Removes all snapshots of a generation, with what was kept for them."""
    for table in (snapshots, snapshot_changes, snapshot_rows):
        of_it = (table.c.projection == projection) & (table.c.generation == generation)
        await connection.execute(delete(table).where(of_it))
    statement = update(all_generations).where(generations.row_of(projection, generation))
    await connection.execute(statement.values(changes_kept_to=None, counted_events=None))


async def forget_json(connection: AsyncConnection, projection: str, generation: int) -> None:
    """Removes what `create` made of a generation's rows: its snapshots are without it."""
    of_it = (snapshot_rows.c.projection == projection) & (snapshot_rows.c.generation == generation)
    await connection.execute(delete(snapshot_rows).where(of_it))
    statement = update(snapshots).where(
        snapshots.c.projection == projection, snapshots.c.generation == generation
    )
    await connection.execute(statement.values(has_json=False))


async def with_any(connection: AsyncConnection, projection: str) -> Sequence[int]:
    """The generations that have snapshots."""
    statement = select(snapshots.c.generation).where(snapshots.c.projection == projection)
    return (await connection.execute(statement.distinct())).scalars().all()


async def count(connection: AsyncConnection, projection: str, generation: int) -> int:
    """How many snapshots a generation has."""
    of_it = (snapshots.c.projection == projection) & (snapshots.c.generation == generation)
    counted = select(func.count()).select_from(snapshots).where(of_it)
    return await connection.scalar(counted) or 0
