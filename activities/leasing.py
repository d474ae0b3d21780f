"""Taking a projection's lease: one writing run at a time, whatever its workflow id."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities import announcing
from activities.cleanup import give_up
from activities.installations import installation_of
from activities.lease_standing import LeaseStanding, standing_of
from refold.plan import Planned
from refold.requests import Request
from refold.store import leases, runs, schema
from refold.store.takeover import take_over


async def begin(engine: AsyncEngine, request: Request, *, run_id: str, kind: str) -> Planned | None:
    """Takes the lease for a run and records it.

    Returns:
        What the run planned when it was begun before; None when it is new.

    Raises:
        ProjectionBusy: Another run, which is still alive, holds the projection.
        RunEnded: The run has ended: its workflow was reset.
    """
    await announcing.clear_the_way(engine, request.projection)
    # An earlier attempt of this run that stopped while it planned.
    await take_over(engine, schema.leases, schema.leases.c.run_id == run_id)
    await take_over(engine, schema.runs, schema.runs.c.run_id == run_id)
    await _take_lease(engine, request.projection, run_id)
    async with engine.begin() as connection:
        run = await runs.begin(
            connection,
            run_id=run_id,
            projection=request.projection,
            kind=kind,
            workflow_id=activity.info().workflow_id or "",
            request=request.model_dump(mode="json", exclude_none=True),
        )
        if run.ended_at is not None:
            raise runs.ended_before(run)
    return None if run.plan is None else Planned.model_validate(run.plan)


async def _take_lease(engine: AsyncEngine, projection: str, run_id: str) -> None:
    while not await _acquire(engine, projection, run_id):
        async with engine.connect() as connection:
            lease = await leases.holder(connection, projection)
        if lease is not None:
            await _replace(engine, lease)


async def _acquire(engine: AsyncEngine, projection: str, run_id: str) -> bool:
    info = activity.info()
    own = await installation_of(activity.client())
    async with engine.begin() as connection:
        return await leases.acquire(
            connection,
            projection,
            run_id=run_id,
            workflow_id=info.workflow_id or "",
            namespace=own.namespace,
            installation=own.id,
        )


async def _replace(engine: AsyncEngine, lease: leases.Lease) -> None:
    standing = await standing_of(activity.client(), lease)
    if standing is LeaseStanding.ENDED:
        await give_up(engine, lease)
    else:
        raise leases.busy(lease, elsewhere=standing is LeaseStanding.ELSEWHERE)
