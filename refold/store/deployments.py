"""Table `refold.deployments`: which worker has which projections, in which versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.store.schema import deployments, generations, runs

SHOWN_SECONDS = 15.0
"""So often a worker shows itself."""

# A worker that has not shown itself for so long is not there any more.
_LATELY = timedelta(seconds=4 * SHOWN_SECONDS)

_FORGOTTEN = timedelta(days=1)


def queue_of(namespace: str, task_queue: str) -> str:
    """The name that workers share which can take each other's tasks."""
    return f"{namespace}/{task_queue}"


async def show(
    connection: AsyncConnection,
    worker: str,
    queue: str,
    versions: Mapping[tuple[str, int], Sequence[str] | None],
    build: str | None = None,
    *,
    source: str | None = None,
) -> None:
    """Shows that a worker is there, and what it has.

    Args:
        connection: In a transaction.
        worker: Which one.
        queue: See `queue_of`.
        versions: The event types that each projection reads (None: all), by its name and version.
        build: Of which build of the code it is, where workers are versioned.
        source: Where it reads events, in words; None where that is not said.
    """
    if not versions:
        return
    statement = insert(deployments).values(
        [
            {
                "worker": worker,
                "queue": queue,
                "projection": name,
                "version": version,
                "event_types": None if types is None else list(types),
                "build": build,
                "source": source,
            }
            for (name, version), types in sorted(versions.items())
        ]
    )
    excluded = statement.excluded
    await connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(deployments.primary_key),
            set_={
                "seen_at": func.now(),
                "queue": queue,
                "event_types": excluded.event_types,
                "source": excluded.source,
            },
        )
    )


async def sources(connection: AsyncConnection) -> list[str]:
    """Where workers read events that have shown themselves within the last minute, in words."""
    statement = (
        select(deployments.c.source)
        .distinct()
        .where(deployments.c.source.is_not(None), deployments.c.seen_at > func.now() - _LATELY)
        .order_by(deployments.c.source)
    )
    return [str(source) for source in (await connection.execute(statement)).scalars()]


async def leave(connection: AsyncConnection, worker: str) -> None:
    """Shows that a worker is not there any more."""
    await connection.execute(delete(deployments).where(deployments.c.worker == worker))


async def workers_with(
    connection: AsyncConnection,
    projection: str,
    version: int | None,
    queue: str,
    build: str | None = None,
) -> list[str]:
    """The workers of a task queue that have a projection, in a version or, for None, in any.

    Of one build of the code only: where workers are versioned, no other gets the same steps.
    """
    statement = (
        select(deployments.c.worker)
        .distinct()
        .where(
            deployments.c.projection == projection,
            deployments.c.queue == queue,
            deployments.c.build.is_not_distinct_from(build),
            deployments.c.seen_at > func.now() - _LATELY,
        )
        .order_by(deployments.c.worker)
    )
    if version is not None:
        statement = statement.where(deployments.c.version == version)
    return list((await connection.execute(statement)).scalars())


async def has_workers(connection: AsyncConnection, queue: str) -> bool:
    """Whether a worker of a task queue has shown itself within the last minute."""
    there = select(deployments.c.worker).where(
        deployments.c.queue == queue, deployments.c.seen_at > func.now() - _LATELY
    )
    return bool(await connection.scalar(select(there.exists())))


async def highest(
    connection: AsyncConnection, projection: str, queue: str, build: str | None = None
) -> int | None:
    """The highest version of a projection that a worker of a task queue has; None for none.

    Of one build of the code only, as `workers_with`.
    """
    statement = select(func.max(deployments.c.version)).where(
        deployments.c.projection == projection,
        deployments.c.queue == queue,
        deployments.c.build.is_not_distinct_from(build),
        deployments.c.seen_at > func.now() - _LATELY,
    )
    found: int | None = await connection.scalar(statement)
    return found


@dataclass(frozen=True)
class Shown:
    """What a worker has shown within the last minute.

    Attributes:
        worker: Which one.
        queue: See `queue_of`.
        versions: The versions that it has of each projection, by name.
    """

    worker: str
    queue: str
    versions: Mapping[str, Sequence[int]]


async def lately(connection: AsyncConnection) -> list[Shown]:
    """What workers have shown within the last minute, on whatever task queue."""
    statement = (
        select(
            deployments.c.worker,
            deployments.c.queue,
            deployments.c.projection,
            func.array_agg(aggregate_order_by(deployments.c.version, deployments.c.version)),
        )
        .where(deployments.c.seen_at > func.now() - _LATELY)
        .group_by(deployments.c.worker, deployments.c.queue, deployments.c.projection)
        .order_by(deployments.c.queue, deployments.c.worker, deployments.c.projection)
    )
    shown: dict[tuple[str, str], dict[str, Sequence[int]]] = {}
    for worker, queue, projection, versions in await connection.execute(statement):
        shown.setdefault((worker, queue), {})[projection] = versions
    return [Shown(worker, queue, versions) for (worker, queue), versions in shown.items()]


async def ever_seen(connection: AsyncConnection, projection: str) -> bool:
    """Whether there has ever been a projection of that name, as far as is remembered."""
    there = or_(
        *(
            select(table.c.projection).where(table.c.projection == projection).exists()
            for table in (generations, runs, deployments)
        )
    )
    return bool(await connection.scalar(select(there)))


async def is_known(connection: AsyncConnection, projection: str) -> bool:
    """Whether a projection of that name was ever built, or a worker has had it within a day."""
    there = or_(
        *(
            select(table.c.projection).where(table.c.projection == projection).exists()
            for table in (generations, deployments)
        )
    )
    return bool(await connection.scalar(select(there)))


async def registered(connection: AsyncConnection, queue: str) -> list[str]:
    """The projections that workers of a task queue have had within a day, by name."""
    statement = select(deployments.c.projection).distinct().where(deployments.c.queue == queue)
    return list((await connection.execute(statement.order_by("projection"))).scalars())


async def event_types(
    connection: AsyncConnection, projection: str, version: int | None
) -> list[str] | None:
    """The event types that a projection reads, as a worker has shown within a day.

    Args:
        connection: Any connection.
        projection: Which one.
        version: In this version; in its highest if no worker has that, or None is given.

    Returns:
        None when no worker has shown it.
    """
    wanted = deployments.c.version == (-1 if version is None else version)
    statement = (
        select(deployments.c.event_types)
        .where(deployments.c.projection == projection, deployments.c.event_types.is_not(None))
        .order_by(wanted.desc(), deployments.c.version.desc(), deployments.c.seen_at.desc())
        .limit(1)
    )
    found: list[str] | None = await connection.scalar(statement)
    return found


async def forget(connection: AsyncConnection) -> int:
    """Forgets workers that have not shown themselves for a day. Returns how many rows."""
    old = deployments.c.seen_at < func.now() - _FORGOTTEN
    return (await connection.execute(delete(deployments).where(old))).rowcount
