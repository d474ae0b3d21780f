"""Snapshots that a projection makes unasked: which are kept, and what need not be kept for them."""

from __future__ import annotations

import asyncpg
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.engine.lifecycle.cleanup import drop
from refold.engine.lifecycle.retention import Left, log_left
from refold.errors import NoSnapshot, ProjectionBusy
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.projection.snapshot_policy import MADE_BY_ITSELF
from refold.runtime.database import raw, server_error
from refold.store import generations, leases
from refold.store.generations import BASE, Generation
from refold.store.schema import runs
from refold.store.snapshots import copies, kept
from refold.store.snapshots.compaction import AT_LEAST, compact
from refold.store.tables.rows import RowStore


async def drop_expired_snapshots(
    engine: AsyncEngine, projection: Projection, *, left: Left = log_left
) -> list[int]:
    """Drops snapshots that the projection has made unasked, but for the latest ones.

    Followers do so themselves as they make them; this is for those that a run has brought along,
    for a policy that has changed, and for the copies that older versions made. Generations that
    were kept for snapshots only are dropped with the last of them.

    Returns:
        The generations that were dropped.
    """
    keep = projection.snapshots.keep_last
    await drop_beyond(engine, projection.name, keep)
    dropped = await _drop_bases(engine, projection.name, left)
    if keep is None:
        return dropped
    async with engine.connect() as connection:
        own = await _copies_made_by_itself(connection, projection.name)
    for one in own[keep:]:
        try:
            async with engine.begin() as connection:
                await copies.drop(connection, projection.name, one.generation)
        except (NoSnapshot, ProjectionBusy):
            continue  # another worker was first; or it is for later
        except DBAPIError as error:
            left(one, error)
            continue
        dropped.append(one.generation)
    return dropped


async def drop_beyond(
    engine: AsyncEngine, name: str, keep: int | None, *, run_id: str | None = None
) -> None:
    """Drops snapshots that are kept as changes, but for the latest; see `kept.drop_beyond`.

    When somebody has locked them, that is for later.
    """
    if keep is None:
        return
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            await kept.drop_beyond(await raw(connection), name, keep, run_id=run_id)
    except DBAPIError as error:
        if not isinstance(server_error(error), asyncpg.LockNotAvailableError):
            raise
    except asyncpg.LockNotAvailableError:
        return


async def compact_changes(
    engine: AsyncEngine, registry: Registry, name: str, *, at_least: int = AT_LEAST
) -> int:
    """Makes the changes that are kept for snapshots fewer; returns how many records are gone."""
    async with engine.connect() as connection:
        having = await kept.with_any(connection, name)
        known = {one.generation: one for one in await generations.of_projection(connection, name)}
    fewer = 0
    for number in having:
        projection = registry.version(name, known[number].version) if number in known else None
        if projection is None:
            continue
        rows = RowStore(projection.table)
        async with engine.begin() as connection:
            await connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            driver = await raw(connection)
            fewer += await compact(driver, name, number, rows, at_least=at_least)
    return fewer


async def _drop_bases(engine: AsyncEngine, name: str, left: Left) -> list[int]:
    async with engine.connect() as connection:
        needed = await kept.with_any(connection, name)
        bases = await generations.of_status(connection, name, BASE)
    dropped = []
    for base in bases:
        if base.generation in needed:
            continue
        try:
            async with engine.begin() as connection:
                await connection.execute(text("SET LOCAL lock_timeout = '2s'"))
                still = await generations.get(connection, name, base.generation, lock=True)
                if still is None or still.status != BASE:
                    continue
                if await leases.holder(connection, name) is not None:
                    continue  # a run may have just begun to restore the last of its snapshots
                await drop(connection, still)
        except DBAPIError as error:
            left(base, error)
            continue
        dropped.append(base.generation)
    return dropped


async def _copies_made_by_itself(connection: AsyncConnection, name: str) -> list[Generation]:
    there = await copies.newest_first(connection, name)
    asked = select(runs.c.run_id).where(
        runs.c.run_id.in_([one.run_id for one in there]), runs.c.requested_by == MADE_BY_ITSELF
    )
    own = set((await connection.execute(asked)).scalars())
    return [one for one in there if one.run_id in own]
