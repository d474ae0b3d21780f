"""The plan of a run: the database has it, whoever asks."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from refold.errors import RunEnded
from refold.messages.run.plan import Plan, RunStep
from refold.runtime.database import autocommit
from refold.store import runs


async def plan_of(engine: AsyncEngine, step: RunStep) -> Plan:
    """The plan that a step goes by.

    Raises:
        RunEnded: The run has ended, is gone, or has no plan.
    """
    looking = autocommit(engine)
    async with looking.connect() as connection:
        run = await runs.get(connection, step.run_id)
    if run is None or run.plan is None:
        raise RunEnded(f"run {step.run_id}: expected its plan to be there: the database lost it")
    if run.ended_at is not None:
        raise runs.ended_before(run)
    return Plan.model_validate(run.plan).of(step)
