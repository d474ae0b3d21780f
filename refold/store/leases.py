"""Table `refold.leases`: one writing run per projection, whatever its workflow id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Double, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import RunEnded
from refold.store.schema import leases


@dataclass(frozen=True)
class Lease:
    """Who holds a projection.

    Attributes:
        projection: What is held.
        run_id: By which run.
        workflow_id: Under which workflow id.
        namespace: In which Temporal namespace.
        acquired_at: Since when.
        idle_seconds: Time since the holder last showed itself, by the database's clock.
    """

    projection: str
    run_id: str
    workflow_id: str
    namespace: str
    acquired_at: datetime
    idle_seconds: float


_SELECT = select(
    leases.c.projection,
    leases.c.run_id,
    leases.c.workflow_id,
    leases.c.namespace,
    leases.c.acquired_at,
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
    connection: AsyncConnection, projection: str, *, run_id: str, workflow_id: str, namespace: str
) -> bool:
    """Takes the lease if it is free or already this run's, and renews it.

    Returns:
        False when another run holds it.
    """
    statement = insert(leases).values(
        projection=projection, run_id=run_id, workflow_id=workflow_id, namespace=namespace
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


async def require(connection: AsyncConnection, run_id: str) -> None:
    """Keeps the run's lease from being given up until the transaction ends.

    Raises:
        RunEnded: The run does not hold its projection any more.
    """
    statement = select(leases.c.run_id).where(leases.c.run_id == run_id)
    if (await connection.scalar(statement.with_for_update(read=True))) is None:
        raise RunEnded(f"run {run_id} does not hold its projection any more")


async def hold(connection: AsyncConnection, run_id: str) -> None:
    """Locks the run's lease, if it has one, against all that requires it, until the end."""
    await connection.execute(
        select(leases.c.run_id).where(leases.c.run_id == run_id).with_for_update()
    )


async def release(connection: AsyncConnection, run_id: str) -> None:
    """Gives up whatever the run holds; nothing happens when it holds nothing."""
    await connection.execute(delete(leases).where(leases.c.run_id == run_id))
