"""Snapshots that are copies: generations that are frozen, each with its checkpoint."""

from __future__ import annotations

import asyncpg
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import NoSnapshot
from refold.messages.snapshots import SnapshotInfo
from refold.projection.declaration import Projection
from refold.runtime.database import server_error
from refold.store import dead_letters, leases
from refold.store.generations import (
    BUILDING,
    SNAPSHOT,
    Generation,
    create,
    discard,
    get,
    of_status,
    row_of,
)
from refold.store.schema import generations
from refold.store.tables import read_models


async def newest_first(connection: AsyncConnection, projection: str) -> list[Generation]:
    """A projection's copies, the newest first."""
    return list(reversed(await of_status(connection, projection, SNAPSHOT)))


def described(generation: Generation) -> SnapshotInfo:
    """What people are told of a snapshot."""
    assert generation.position is not None
    return SnapshotInfo(
        generation=generation.generation,
        version=generation.version,
        position=generation.position,
        rows=generation.rows or 0,
        created_at=generation.created_at,
    )


async def create_copy(
    connection: AsyncConnection, projection: Projection, *, run_id: str
) -> Generation:
    """Makes an empty generation of the run's own, without keys and indexes, to be filled.

    Args:
        connection: In a transaction that holds the projection's lease.
        projection: In the version that built what is going to be copied.
        run_id: The run that makes it.
    """
    made = await create(
        connection,
        projection.name,
        version=projection.version,
        status=BUILDING,
        schema_name=None,
        table_name=projection.table.name,
        run_id=run_id,
    )
    await read_models.create_shadow(connection, projection, made.schema_name)
    return made


async def fill(
    connection: AsyncConnection, projection: Projection, copy: Generation, source: Generation
) -> int:
    """Copies a generation's rows, its dead letters and its checkpoint; returns how many rows.

    One statement sees one moment, so the three agree, though the follower of the source goes on.
    """
    new = read_models.physical(projection, copy.schema_name)
    old = read_models.physical(projection, source.schema_name)
    position = select(generations.c.position).where(row_of(projection.name, source.generation))
    placed = (
        update(generations)
        .where(row_of(projection.name, copy.generation))
        .values(position=position.scalar_subquery())
        .returning(generations.c.position)
    )
    names = [column.name for column in old.columns]
    letters = dead_letters.copied(projection.name, source.generation, copy.generation)
    statement = (
        insert(new)
        .from_select(names, select(*old.columns))
        .add_cte(placed.cte("placed"), letters.cte("letters"))
    )
    return (await connection.execute(statement)).rowcount


async def freeze(connection: AsyncConnection, projection: str, generation: int) -> None:
    """Makes a finished copy a snapshot: from now on nothing changes it."""
    statement = update(generations).where(row_of(projection, generation))
    await connection.execute(statement.values(status=SNAPSHOT))


async def drop(connection: AsyncConnection, projection: str, generation: int) -> None:
    """Drops a snapshot, in the caller's transaction.

    Where the caller does not own its table, it is no snapshot from now on, and workers, who do own
    it, drop the table at their next look.

    Raises:
        NoSnapshot: There is no snapshot of that number.
        ProjectionBusy: A run holds the projection: it may be about to copy it.
    """
    await connection.execute(text("SET LOCAL lock_timeout = '2s'"))
    known = await get(connection, projection, generation, lock=True)
    if known is None or known.status != SNAPSHOT:
        there = [snapshot.generation for snapshot in await newest_first(connection, projection)]
        raise NoSnapshot(projection, there, generation)
    # Under the lock: a restore takes its lease first, then locks what it copies.
    lease = await leases.holder(connection, projection)
    if lease is not None:
        raise leases.busy(lease)
    try:
        async with connection.begin_nested():
            await read_models.drop_shadow(connection, known.schema_name, known.table_name)
    except DBAPIError as error:
        if not isinstance(server_error(error), asyncpg.InsufficientPrivilegeError):
            raise
        # As what a run has left: nobody restores it, and the sweep takes it.
        left = update(generations).where(row_of(projection, generation))
        await connection.execute(left.values(status=BUILDING, run_id=None))
        return
    await discard(connection, projection, generation)
