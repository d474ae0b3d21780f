"""How projections stand: gathered from the database, their workflows and the schedules."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.cli.output import errors
from refold.cli.runs.follow import make_manager, tell_if_nobody_works
from refold.cli.status.other_events import tell_if_other_events
from refold.cli.status.state import Standing, state_of
from refold.errors import TemporalUnreachable
from refold.manager.projections import ProjectionManager
from refold.messages.run.life import Progress
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.runtime.database import autocommit, make_engine
from refold.runtime.settings import load_settings
from refold.source.head import SettledHead
from refold.source.log import count_events
from refold.source.tenants import letters_of, of_tenant
from refold.store import dead_letters, generations, leases, left_behind, runs
from refold.store.generations import Generation
from refold.store.migrate import require_migrated
from refold.store.tables.read_models import quoted

# PostgreSQL's own estimate; none before the table was analyzed.
_ROWS = text("SELECT nullif(reltuples, -1)::bigint FROM pg_class WHERE oid = to_regclass(:name)")


def _run_of(run: runs.RunRecord) -> dict[str, Any]:
    going = run.ended_at is None
    paused = going and bool(run.controls and run.controls["paused"])
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "workflow_id": run.workflow_id,
        "status": "paused" if paused else run.status,
        "phase": None,
        "waiting_for": [],
        "holding": run.holding if going and not paused else None,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "error": run.error,
    }


async def standing_of(name: str | None, tenant: str | None) -> list[Standing]:
    """How projections stand: one, or all that are registered.

    What Temporal alone knows is left out when it does not answer; that is said.

    Raises:
        RefoldError: The settings cannot work, or there is no projection of that name.
    """
    settings = load_settings()
    among = None if tenant is None else of_tenant(tenant, settings.tenant_path)
    registry = settings.registry()
    engine = make_engine(settings, activities=0)
    try:
        rows = await in_database(engine, registry, name, among)
        await tell_if_other_events(engine)
    finally:
        await engine.dispose()
    try:
        manager = await make_manager()
    except TemporalUnreachable as error:
        known = "as the database last knew them; steps that fail are not shown"
        errors.print(f"runs are shown {known}: {error}", soft_wrap=True)
    else:
        await tell_if_nobody_works(manager)
        await ask_temporal(manager, rows, tenant)
    return [row | state_of(row) for row in rows]


async def in_database(
    engine: AsyncEngine,
    registry: Registry,
    name: str | None = None,
    among: ColumnElement[bool] | None = None,
) -> list[Standing]:
    """How projections stand as far as the database knows, without `state_of`.

    Args:
        engine: The database.
        registry: The projections.
        name: One of them; None for all.
        among: Only events for which this holds count as lag; None for all.

    Raises:
        NotMigrated: The schema is of another version.
        UnknownProjection: There is no projection of that name.
    """
    wanted = list(registry) if name is None else [registry.get(name)]
    await require_migrated(engine)
    looking = autocommit(engine)
    async with looking.connect() as connection:
        head = SettledHead(records=False)
        await head.wait(connection, seconds=1)
        return [
            await _in_database(connection, registry, projection, head, among)
            for projection in wanted
        ]


async def ask_temporal(
    manager: ProjectionManager, rows: list[Standing], tenant: str | None = None
) -> dict[str, Progress]:
    """Adds to rows what their workflows answer: the database does not know what they wait for.

    Returns:
        The progress of the runs that go on, by projection.
    """
    going = [row for row in rows if row["run"] is not None and row["held_by"]]
    answers = await asyncio.gather(*(manager.get_progress(row["held_by"]) for row in going))
    found: dict[str, Progress] = {}
    for row, progress in zip(going, answers, strict=True):
        if progress is None:
            row["run"]["waiting_for"] = ["no worker answers for it"]
        elif row["run"]["ended_at"] is None:
            row["run"]["status"] = progress.status.value
            row["run"]["phase"] = progress.phase.value
            row["run"]["waiting_for"] = progress.waiting_for
            found[row["projection"]] = progress
    asked = [
        manager.get_health(row["projection"], row["event_types"], tenant=tenant) for row in rows
    ]
    for row, health in zip(rows, await asyncio.gather(*asked), strict=True):
        row["failing"] = health.failing
        row["lag_seconds"] = health.standing.lag_seconds
        row["live"] = {
            "status": health.status,
            "error": None if health.error is None else health.error.message,
            "error_at": None if health.error is None else health.error.at,
            "reason": health.reason,
            "waiting_for": health.waiting_for,
        }
    for schedule in await manager.get_schedules():
        for row in rows:
            due = schedule.next_run
            if row["projection"] == schedule.projection and due is not None and not schedule.paused:
                row["next_schedule"] = min(due, row["next_schedule"] or due)
    return found


async def _in_database(
    connection: AsyncConnection,
    registry: Registry,
    projection: Projection,
    head: SettledHead,
    among: ColumnElement[bool] | None,
) -> Standing:
    active = await generations.active(connection, projection.name)
    run = await runs.latest(connection, projection.name)
    lease = await leases.holder(connection, projection.name)
    position = active.position if active is not None else None
    behind = None
    if position is not None:
        behind = await count_events(
            connection,
            types=projection.event_types,
            after=position,
            since=projection.start_from,
            among=among,
        )
    of_letters = None
    if among is not None and active is not None:
        name, generation = projection.name, active.generation
        of_letters = await letters_of(connection, name, generation, among)
    return {
        "projection": projection.name,
        "version": projection.version,
        "event_types": projection.event_types,
        "versions": registry.versions(projection.name),
        "generation": active.generation if active else None,
        "generation_version": active.version if active else None,
        "position": position,
        "head": head.position,
        "events_behind": behind,
        "rows": None if active is None else await _rows(connection, active),
        "swapped_at": None if active is None else active.swapped_at,
        "rollback_to": [
            made.generation for made in await generations.replaced(connection, projection.name)
        ],
        "held_by": lease.workflow_id if lease else None,
        "run": None if run is None else _run_of(run),
        "left_behind": [
            asdict(left) for left in await left_behind.of_projection(connection, projection.name)
        ],
        "dead_letters": 0
        if active is None
        else await dead_letters.count(connection, projection.name, active.generation, of_letters),
        # What Temporal may add.
        "failing": [],
        "live": None,
        "lag_seconds": None,
        "next_schedule": None,
    }


async def _rows(connection: AsyncConnection, active: Generation) -> int | None:
    name = quoted(active.schema_name, active.table_name)
    estimated = await connection.scalar(_ROWS, {"name": name})
    return active.rows if estimated is None else int(estimated)
