"""How long ended runs and discarded generations are remembered, and what stays at any age."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, literal, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.messages.live import AUTO_START, auto_start_id
from refold.messages.run.status import WORKED
from refold.store.generations import DISCARDED
from refold.store.schema import generations, leases, runs, selected_keys

KEPT = 20
"""The latest so many of each projection stay, at any age."""

# One transaction forgets no more than this, so that it holds nothing up.
_AT_A_TIME = 5000


async def projections(connection: AsyncConnection, older_than: timedelta) -> list[str]:
    """The projections that have a run or a generation of that age."""
    old_runs = select(runs.c.projection).where(_ended_before(older_than))
    old_generations = select(generations.c.projection).where(
        generations.c.status == DISCARDED, _gone_before(older_than)
    )
    found = await connection.execute(old_runs.union(old_generations))
    return sorted(found.scalars())


async def forget_runs(connection: AsyncConnection, projection: str, older_than: timedelta) -> int:
    """Forgets runs that ended longer ago than this, but for those that are still asked about.

    These stay: the latest ones; those whose table is there; and of each version the latest that
    worked or was started by a worker, which keeps workers from starting it again.

    Returns:
        How many were forgotten, with their partitions.
    """
    of_this = runs.c.projection == projection
    latest = select(runs.c.started_at).where(of_this).order_by(runs.c.started_at.desc())
    beyond = await connection.scalar(latest.offset(KEPT).limit(1))
    if beyond is None:
        return 0
    there = select(generations.c.run_id).where(
        generations.c.run_id == runs.c.run_id, generations.c.status != DISCARDED
    )
    held = select(leases.c.run_id).where(leases.c.run_id == runs.c.run_id)
    old = select(runs.c.run_id).where(
        of_this,
        runs.c.started_at <= beyond,
        _ended_before(older_than),
        ~there.exists(),
        ~held.exists(),
        runs.c.run_id.not_in(await _still_asked_about(connection, projection)),
    )
    statement = delete(runs).where(runs.c.run_id.in_(old.limit(_AT_A_TIME)))
    return (await connection.execute(statement)).rowcount


async def _still_asked_about(connection: AsyncConnection, projection: str) -> list[str]:
    by_version = (
        select(runs.c.run_id)
        .ext(distinct_on(runs.c.version))
        .where(runs.c.projection == projection, runs.c.status.in_(WORKED))
        .order_by(runs.c.version, runs.c.started_at.desc())
    )
    own_ids = func.starts_with(runs.c.workflow_id, literal(auto_start_id(projection, "")))
    by_itself = (
        select(runs.c.run_id)
        .ext(distinct_on(runs.c.workflow_id, runs.c.version))
        .where(runs.c.projection == projection, or_(own_ids, runs.c.requested_by == AUTO_START))
        .order_by(runs.c.workflow_id, runs.c.version, runs.c.started_at.desc())
    )
    found: list[str] = []
    for statement in (by_version, by_itself):
        found += (await connection.execute(statement)).scalars()
    return found


async def forget_generations(
    connection: AsyncConnection, projection: str, older_than: timedelta
) -> int:
    """Forgets generations discarded before so long, but for the latest: numbers go on from them.

    Returns:
        How many were forgotten.
    """
    of_this = generations.c.projection == projection
    latest = select(generations.c.generation).where(of_this)
    beyond = await connection.scalar(
        latest.order_by(generations.c.generation.desc()).offset(KEPT).limit(1)
    )
    if beyond is None:
        return 0
    old = (
        select(generations.c.generation)
        .where(of_this, generations.c.status == DISCARDED, generations.c.generation <= beyond)
        .where(_gone_before(older_than))
        .limit(_AT_A_TIME)
    )
    statement = delete(generations).where(of_this, generations.c.generation.in_(old))
    # A discarded generation never gets another status.
    statement = statement.where(generations.c.status == DISCARDED)
    return (await connection.execute(statement)).rowcount


async def forget_selected_keys(connection: AsyncConnection) -> int:
    """Removes keys that were selected by runs which are not going on. Returns how many."""
    going_on = select(runs.c.run_id).where(
        runs.c.run_id == selected_keys.c.run_id, runs.c.ended_at.is_(None)
    )
    statement = delete(selected_keys).where(~going_on.exists())
    return (await connection.execute(statement)).rowcount


def _ended_before(older_than: timedelta) -> ColumnElement[bool]:
    return runs.c.ended_at < func.now() - older_than


def _gone_before(older_than: timedelta) -> ColumnElement[bool]:
    at = func.coalesce(
        generations.c.discarded_at, generations.c.swapped_at, generations.c.created_at
    )
    return at < func.now() - older_than
