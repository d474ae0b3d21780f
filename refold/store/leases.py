"""Table `refold.leases`: one writing run per projection, under any workflow id."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Double, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import ProjectionBusy, RunEnded
from refold.store.schema import leases

RENEWED_SECONDS = 15.0
"""So often workers renew the leases of the runs that go on."""

SILENCE_SECONDS = 4 * RENEWED_SECONDS
"""A holder that has not shown itself for so long is missed."""

# Several workers renew the same leases; it is enough that one of them does.
_RENEWED_LATELY = timedelta(seconds=10)


@dataclass(frozen=True)
class Lease:
    """Who holds a projection.

    Attributes:
        projection: What is held.
        run_id: By which run.
        workflow_id: Under which workflow id.
        namespace: In which Temporal namespace.
        installation: Which Temporal that is, by the namespace's id; None if not known.
        released_by: Who wants the run ended from outside; None for nobody.
        acquired_at: Since when.
        renewed_at: When the holder last showed itself.
        idle_seconds: Time since then, by the database's clock.
    """

    projection: str
    run_id: str
    workflow_id: str
    namespace: str
    installation: str | None
    released_by: str | None
    acquired_at: datetime
    renewed_at: datetime
    idle_seconds: float

    @property
    def silent(self) -> bool:
        """Whether its holder has not shown itself for long enough to be missed."""
        return self.idle_seconds >= SILENCE_SECONDS


def busy(lease: Lease, *, elsewhere: bool = False) -> ProjectionBusy:
    """The error for a run that wants a projection which another run holds.

    Args:
        lease: Who holds it.
        elsewhere: Whether the run is of another installation than the caller.
    """
    return ProjectionBusy(
        lease.projection,
        lease.workflow_id,
        lease.run_id,
        moment(lease.acquired_at),
        namespace=lease.namespace if elsewhere else None,
        silent_since=moment(lease.renewed_at) if elsewhere and lease.silent else None,
    )


def moment(at: datetime) -> str:
    """A time, to the second, as messages have it."""
    return f"{at:%Y-%m-%d %H:%M:%S %Z}"


_SELECT = select(
    leases.c.projection,
    leases.c.run_id,
    leases.c.workflow_id,
    leases.c.namespace,
    leases.c.installation,
    leases.c.released_by,
    leases.c.acquired_at,
    leases.c.renewed_at,
    cast(func.extract("epoch", func.now() - leases.c.renewed_at), Double).label("idle_seconds"),
)


async def holder(connection: AsyncConnection, projection: str) -> Lease | None:
    """The lease on a projection, if there is one."""
    row = (await connection.execute(_SELECT.where(leases.c.projection == projection))).first()
    return None if row is None else Lease(**row._mapping)


async def all_leases(connection: AsyncConnection) -> list[Lease]:
    """Every lease."""
    rows = await connection.execute(_SELECT)
    return [Lease(**row._mapping) for row in rows]


async def acquire(
    connection: AsyncConnection,
    projection: str,
    *,
    run_id: str,
    workflow_id: str,
    namespace: str,
    installation: str | None = None,
) -> bool:
    """Takes the lease if it is free or already this run's, and renews it.

    Returns:
        False when another run holds it.
    """
    statement = insert(leases).values(
        projection=projection,
        run_id=run_id,
        workflow_id=workflow_id,
        namespace=namespace,
        installation=installation,
    )
    statement = statement.on_conflict_do_update(
        index_elements=[leases.c.projection],
        set_={"renewed_at": func.now()},
        where=leases.c.run_id == run_id,
    )
    return (await connection.execute(statement)).rowcount == 1


async def renew(connection: AsyncConnection, run_id: str) -> bool:
    """Shows that the run is alive. Returns False when it holds no lease any more."""
    statement = update(leases).where(leases.c.run_id == run_id).values(renewed_at=func.now())
    return (await connection.execute(statement)).rowcount == 1


async def renew_some(connection: AsyncConnection, run_ids: Collection[str]) -> None:
    """Shows that runs are alive, whose workflows are known to run; not what was shown just now.

    A lease that is held at the moment is passed over: its holder is at work.
    """
    due = (
        select(leases.c.projection)
        .where(leases.c.run_id.in_(run_ids), leases.c.renewed_at < func.now() - _RENEWED_LATELY)
        .with_for_update(skip_locked=True)
    )
    statement = update(leases).where(leases.c.projection.in_(due))
    await connection.execute(statement.values(renewed_at=func.now()))


async def give_away(
    connection: AsyncConnection, projection: str, run_id: str, *, released_by: str
) -> bool:
    """Lets the next worker that looks end a run; returns False when it does not hold the lease."""
    statement = update(leases).where(leases.c.projection == projection, leases.c.run_id == run_id)
    return (await connection.execute(statement.values(released_by=released_by))).rowcount == 1


async def require(connection: AsyncConnection, run_id: str) -> None:
    """Keeps the run's lease from being given up until the transaction ends.

    Raises:
        RunEnded: The run does not hold its projection any more.
    """
    statement = select(leases.c.run_id).where(leases.c.run_id == run_id)
    if (await connection.scalar(statement.with_for_update(read=True))) is None:
        raise RunEnded(f"run {run_id} does not hold its projection any more")


async def hold(connection: AsyncConnection, run_id: str) -> None:
    """Locks the run's lease, if it has one, until the transaction ends; see `require`."""
    await connection.execute(
        select(leases.c.run_id).where(leases.c.run_id == run_id).with_for_update()
    )


async def release(connection: AsyncConnection, run_id: str) -> None:
    """Gives up the run's lease; nothing happens when it holds none."""
    await connection.execute(delete(leases).where(leases.c.run_id == run_id))
