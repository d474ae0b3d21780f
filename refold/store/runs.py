"""Table `refold.runs`: each execution of a backfill or rebuild, and what it planned."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    cast,
    func,
    literal_column,
    null,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import RunEnded
from refold.messages.run.controls import Controls
from refold.messages.run.status import WORKED, RunStatus
from refold.runtime.database import storable
from refold.store.schema import runs

# A smaller run spends most of its time on its steps, so it says little of a rate.
_LEAST_EVENTS = 10_000
_LAST_RUNS = 50


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        run_id: Temporal's first run id: the same over continue-as-new.
        projection: What it writes.
        kind: The workflow type.
        workflow_id: The workflow id, which anybody may choose.
        status: ``running``, or how it ended: see `RunStatus`.
        request: What it was started with.
        plan: The plan, once it is made.
        diff: What the new table changes, once it is verified.
        followed_events: Events applied by following.
        holding: Why it holds back now; None when it does not.
        controls: What it has been told; None for nothing.
        requested_by: Who asked for it.
        started_at: When it was recorded.
        ended_at: When it ended.
        ended_by: The workflow execution that ended it; None when it was given up.
        error: Why it failed.
    """

    run_id: str
    projection: str
    kind: str
    workflow_id: str
    status: str
    request: dict[str, Any]
    plan: dict[str, Any] | None
    diff: dict[str, Any] | None
    followed_events: int
    holding: str | None
    controls: dict[str, Any] | None
    requested_by: str | None
    started_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    error: str | None


def ended_before(run: RunRecord) -> RunEnded:
    """The refusal of an execution that takes up a run which has ended."""
    return RunEnded(
        f"run {run.run_id} of {run.projection!r}: expected a run that goes on, it ended as "
        f"{run.status} at {run.ended_at:%Y-%m-%d %H:%M:%S %Z}"
    )


REVISION: ColumnElement[int] = func.coalesce(
    cast(runs.c.controls.op("->>")(literal_column("'revision'")), BigInteger), literal_column("0")
)
"""How often a run has been told something."""

_COLUMNS = tuple(runs.c[name] for name in RunRecord.__dataclass_fields__)


async def begin(
    connection: AsyncConnection,
    *,
    run_id: str,
    projection: str,
    kind: str,
    workflow_id: str,
    request: dict[str, Any],
) -> RunRecord:
    """Records a run, or finds it when it was recorded before."""
    statement = insert(runs).values(
        run_id=run_id,
        projection=projection,
        kind=kind,
        workflow_id=workflow_id,
        request=request,
        requested_by=request.get("requested_by"),
    )
    await connection.execute(statement.on_conflict_do_nothing())
    return RunRecord(*(await connection.execute(_of(run_id))).one())


def _of(run_id: str) -> Any:
    return select(*_COLUMNS).where(runs.c.run_id == run_id)


async def get(connection: AsyncConnection, run_id: str, *, lock: bool = False) -> RunRecord | None:
    """A run's record, if there is one; kept from ending until the transaction ends, if asked."""
    statement = _of(run_id)
    locking = statement.with_for_update(read=True) if lock else statement
    row = (await connection.execute(locking)).first()
    return None if row is None else RunRecord(*row)


async def latest(connection: AsyncConnection, projection: str) -> RunRecord | None:
    """The projection's latest run."""
    statement = select(*_COLUMNS).where(runs.c.projection == projection)
    ordered = statement.order_by(runs.c.started_at.desc()).limit(1)
    row = (await connection.execute(ordered)).first()
    return None if row is None else RunRecord(*row)


async def has_built(
    connection: AsyncConnection,
    projection: str,
    version: int,
    *,
    tried_by: str,
    tried_under: str,
) -> bool:
    """Whether a version has been built; or tried to be, by this one or under this workflow id."""
    under = select(runs.c.run_id).where(
        runs.c.projection == projection, runs.c.workflow_id == tried_under
    )
    if await connection.scalar(under.limit(1)) is not None:
        return True
    of_version = select(runs.c.run_id).where(
        runs.c.projection == projection, runs.c.version == version
    )
    for built in (runs.c.status.in_(WORKED), runs.c.requested_by == tried_by):
        if await connection.scalar(of_version.where(built).limit(1)) is not None:
            return True
    return False


async def planned(connection: AsyncConnection, run_id: str) -> dict[str, Any] | None:
    """What a run has planned, which nobody else can until the transaction ends; None for nothing.

    Raises:
        RunEnded: The run is gone, or has ended.
    """
    statement = select(runs.c.plan, runs.c.ended_at).where(runs.c.run_id == run_id)
    found = (await connection.execute(statement.with_for_update())).first()
    if found is None or found.ended_at is not None:
        raise RunEnded(f"run {run_id} was ended while it was planned")
    plan: dict[str, Any] | None = found.plan
    return plan


async def set_plan(connection: AsyncConnection, run_id: str, plan: dict[str, Any]) -> None:
    """Records what the run is going to do."""
    await connection.execute(update(runs).where(runs.c.run_id == run_id).values(plan=plan))


async def set_diff(connection: AsyncConnection, run_id: str, diff: dict[str, Any]) -> None:
    """Records what the run's new table changes."""
    await connection.execute(update(runs).where(runs.c.run_id == run_id).values(diff=diff))


async def latest_rate(connection: AsyncConnection, projection: str) -> float | None:
    """Events a second of the projection's latest completed run of some size, without limits.

    The time that a person took to approve a run does not count: its work ends with verification. A
    run that was paused, throttled or told other limits says nothing of the next run, nor does one
    of long ago.
    """
    last = (
        select(runs.c.run_id)
        .where(runs.c.projection == projection)
        .order_by(runs.c.started_at.desc())
        .limit(_LAST_RUNS)
        .subquery()
    )
    verified = cast(runs.c.diff.op("->>")(literal_column("'compared_at'")), DateTime(timezone=True))
    seconds = func.extract("epoch", func.coalesce(verified, runs.c.ended_at) - runs.c.started_at)
    events = runs.c.plan["total_events"].as_float()
    pacing = runs.c.plan["pacing"]
    throttled = func.coalesce(func.jsonb_typeof(pacing["throttle"]), "null") != "null"
    statement = (
        select(events / seconds)
        .where(runs.c.run_id.in_(select(last.c.run_id)), runs.c.status == RunStatus.COMPLETED)
        .where(seconds >= 1, events >= _LEAST_EVENTS, REVISION == 0)
        .where(func.coalesce(pacing["events_per_second"].as_float(), 0) == 0, ~throttled)
        .order_by(runs.c.started_at.desc())
        .limit(1)
    )
    rate = await connection.scalar(statement)
    return float(rate) if rate else None


async def add_followed(connection: AsyncConnection, run_id: str, events: int) -> int:
    """Counts events applied by following, in the transaction that applies them.

    Returns:
        The revision of what the run has been told.
    """
    followed = runs.c.followed_events + events
    statement = update(runs).where(runs.c.run_id == run_id)
    counted = statement.values(followed_events=followed).returning(REVISION)
    return await connection.scalar(counted) or 0


async def end(
    connection: AsyncConnection,
    run_id: str,
    status: RunStatus,
    error: str | None,
    *,
    ended_by: str | None = None,
) -> None:
    """Records how a run ended, and which execution ended it; the first ending stands."""
    statement = update(runs).where(runs.c.run_id == run_id, runs.c.ended_at.is_(None))
    await connection.execute(
        statement.values(
            status=status,
            ended_at=func.now(),
            ended_by=ended_by,
            error=storable(error) if error else null(),
        )
    )


# -- what it is told, and its pace -----------------------------------------------------------


# Time that went by unused may be made up for, up to this much.
_CREDIT = text("interval '1 second'")


async def control(connection: AsyncConnection, run_id: str, controls: Controls) -> None:
    """Records what a run has been told; older controls than the recorded ones change nothing."""
    statement = update(runs).where(runs.c.run_id == run_id, controls.revision > REVISION)
    told = controls.model_dump(mode="json")
    # Time that was spent at another rate does not count.
    await connection.execute(statement.values(controls=told, paced_until=null()))


async def revision(connection: AsyncConnection, run_id: str) -> int:
    """How often a run has been told something, in a transaction of its own."""
    async with connection.begin():
        found = await connection.scalar(select(REVISION).where(runs.c.run_id == run_id))
    return found or 0


async def spend(connection: AsyncConnection, run_id: str, seconds: float) -> float:
    """Takes a run's time for a batch, in a transaction of its own; returns the seconds to wait.

    All partitions of a run, wherever they are worked on, spend from the same clock.
    """
    now = func.clock_timestamp()
    since = func.greatest(func.coalesce(runs.c.paced_until, now), now - _CREDIT)
    until = since + timedelta(seconds=seconds)
    statement = update(runs).where(runs.c.run_id == run_id).values(paced_until=until)
    left = func.extract("epoch", runs.c.paced_until - now)
    async with connection.begin():
        found = await connection.scalar(statement.returning(left))
    return max(0.0, float(found or 0))


async def set_holding(connection: AsyncConnection, run_id: str, why: str | None) -> None:
    """Records why a run holds back, or that it does not any more, in a transaction of its own."""
    async with connection.begin():
        await connection.execute(update(runs).where(runs.c.run_id == run_id).values(holding=why))
