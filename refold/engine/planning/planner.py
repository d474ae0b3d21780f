"""What all planners share: what they are made of, and how a plan is recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.engine.lifecycle import announcements
from refold.engine.lifecycle.deployment import Deployment
from refold.messages.run.plan import Plan
from refold.projection.declaration import Projection
from refold.requests.runs import Request
from refold.runtime.settings import Settings
from refold.store import leases, runs
from refold.store.snapshots import copies


class Planner:
    """Makes the plans of one kind of run, once the run holds its lease.

    Args:
        engine: The database.
        deployment: The projections.
        settings: For the plan's times, and where an event names its tenant.
    """

    def __init__(self, engine: AsyncEngine, deployment: Deployment, settings: Settings) -> None:
        self._engine = engine
        self._deployment = deployment
        self._registry = deployment.registry
        self._settings = settings

    async def _record(
        self,
        plan: Plan,
        kind: str,
        request: Request,
        write: Callable[[AsyncConnection], Awaitable[None]],
    ) -> Plan:
        """Writes a plan and what goes with it, in one transaction: all of it or nothing.

        Args:
            plan: The run's.
            kind: Which workflow the run is.
            request: What was asked for, with what the projection declares.
            write: Writes what goes with the plan; it is called once the run is known to hold its
                lease and to have no plan.

        Returns:
            The plan that stands: another attempt's, if that was sooner.

        Raises:
            RunEnded: The run has lost its lease.
        """
        async with self._engine.begin() as connection:
            await leases.require(connection, plan.run_id)
            sooner = standing(await runs.planned(connection, plan.run_id), plan)
            if sooner is not None:
                return sooner
            await write(connection)
            await runs.set_plan(connection, plan.run_id, plan.model_dump(mode="json"))
            if not plan.awaits_keys:
                await announcements.started(connection, plan, kind, request)
        return plan


def standing(recorded: dict[str, Any] | None, plan: Plan) -> Plan | None:
    """The recorded plan, if it stands; None when there is none, or `plan` is to take its place."""
    if recorded is None:
        return None
    sooner = Plan.model_validate(recorded)
    return None if sooner.awaits_keys and plan.is_keyed else sooner


async def make_copy(connection: AsyncConnection, plan: Plan, projection: Projection) -> None:
    """Makes the empty generation that a plan copies another one to."""
    made = await copies.create_copy(connection, projection, run_id=plan.run_id)
    assert made.generation == plan.generation, "the lease keeps others from making any"
