"""Taking a projection's lease: one writing run at a time, whatever its workflow id."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from refold.engine.lifecycle import announcements
from refold.engine.lifecycle.cleanup import give_up
from refold.engine.lifecycle.lease_standing import Executions, LeaseStanding
from refold.messages.run.plan import Plan
from refold.requests.runs import Request
from refold.store import leases, runs, schema
from refold.store.sessions.takeover import take_over


async def begin(
    engine: AsyncEngine,
    executions: Executions,
    request: Request,
    *,
    run_id: str,
    workflow_id: str,
    kind: str,
) -> Plan | None:
    """Takes the lease for a run and records it.

    Returns:
        What the run planned when it was begun before; None when it is new.

    Raises:
        ProjectionBusy: Another run, which is still alive, holds the projection.
        RunEnded: The run has ended: its workflow was reset.
    """
    await announcements.clear_the_way(engine, request.projection)
    # An earlier attempt of this run may have stopped while it planned, holding these rows.
    await take_over(engine, schema.leases, schema.leases.c.run_id == run_id)
    await take_over(engine, schema.runs, schema.runs.c.run_id == run_id)
    claim = _Claim(engine, executions, request, run_id, workflow_id, kind)
    run = await claim.take()
    return None if run.plan is None else Plan.model_validate(run.plan)


@dataclass(frozen=True)
class _Claim:
    engine: AsyncEngine
    executions: Executions
    request: Request
    run_id: str
    workflow_id: str
    kind: str

    async def take(self) -> runs.RunRecord:
        """Takes the lease, from a run that has ended if need be; gives the run's record."""
        while (run := await self._admitted()) is None:
            async with self.engine.connect() as connection:
                lease = await leases.holder(connection, self.request.projection)
            if lease is not None:
                await self._replace(lease)
        return run

    async def _admitted(self) -> runs.RunRecord | None:
        """Takes the lease and records the run, both or nothing; None where another run holds it.

        An attempt may come late, as that of a worker which was frozen meanwhile: by then its run
        has ended, and must not hold the projection once more.
        """
        own = await self.executions.installation()
        async with self.engine.begin() as connection:
            taken = await leases.acquire(
                connection,
                self.request.projection,
                run_id=self.run_id,
                workflow_id=self.workflow_id,
                namespace=own.namespace,
                installation=own.id,
            )
            if not taken:
                return None
            run = await runs.begin(
                connection,
                run_id=self.run_id,
                projection=self.request.projection,
                kind=self.kind,
                workflow_id=self.workflow_id,
                request=self.request.model_dump(mode="json", exclude_none=True),
            )
            if run.ended_at is not None:
                raise runs.ended_before(run)
        return run

    async def _replace(self, lease: leases.Lease) -> None:
        standing = await self.executions.standing(lease)
        if standing is LeaseStanding.ENDED:
            await give_up(self.engine, lease)
        else:
            raise leases.busy(lease, elsewhere=standing is LeaseStanding.ELSEWHERE)
