"""Who holds projections, and whether they still live."""

from __future__ import annotations

from refold.cli.doctor.finding import Finding, mind, ok, wrong
from refold.cli.doctor.look import Look, Need
from refold.cli.output import length_of
from refold.engine.lifecycle.lease_standing import LeaseStanding
from refold.store import leases as store
from refold.store.leases import RENEWED_SECONDS, Lease
from refold.worker.executions import TemporalExecutions

# Workers look at leases every quarter of a minute: a run that has just ended is theirs to end.
_GRACE_SECONDS = 2 * RENEWED_SECONDS


async def leases(look: Look) -> list[Finding]:
    """Whether each run that holds a projection is alive."""
    async with look.connected() as connection:
        held = await store.all_leases(connection)
    standings: list[LeaseStanding | None] = [None] * len(held)
    if Need.NAMESPACE in look.reached:
        executions = TemporalExecutions(look.client)
        standings = [await executions.standing(lease) for lease in held]
    found = [
        one
        for lease, standing in zip(held, standings, strict=True)
        if (one := _judged(lease, standing)) is not None
    ]
    return found or [ok(f"held: {len(held)}, by runs that live")]


def _judged(lease: Lease, standing: LeaseStanding | None) -> Finding | None:
    held = f"{lease.projection} is held by run {lease.run_id} of workflow {lease.workflow_id!r}"
    since = f"it has been silent for {length_of(lease.idle_seconds)}"
    release = f"refold release {lease.projection} --run {lease.run_id}"
    if standing is LeaseStanding.ENDED and lease.idle_seconds > _GRACE_SECONDS:
        return wrong(
            f"{held}, which is over: {since}",
            "a worker that runs ends it within 15 s: start one (`refold worker`), or look at its "
            "log",
        )
    if standing is LeaseStanding.ELSEWHERE and lease.silent:
        return wrong(
            f"{held}, namespace {lease.namespace!r} of another installation: {since}",
            f"start a worker there; or, if that installation is gone for good, {release}",
        )
    if standing is None and lease.silent:
        return mind(
            f"{held}: {since}, and Temporal cannot be asked whether it lives",
            "start a worker, or Temporal",
        )
    return None
