"""Table `refold.late_events`: which of them each generation's rows have been put right for.

They are numbered by one writer after another (`refold.source.settled.gaps`), so that a number tells
that all before it are there.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.store.gaps.tables import late_events, passed_gaps
from refold.store.generations import DISCARDED, row_of
from refold.store.schema import generations, runs, snapshots

# One transaction forgets no more than this, so that it holds nothing up.
_AT_A_TIME = 5000


async def newest(connection: AsyncConnection, source: str) -> int:
    """The number of the latest of a source; 0 for none."""
    latest = select(func.coalesce(func.max(late_events.c.id), 0))
    return await connection.scalar(latest.where(late_events.c.source == source)) or 0


async def late_to(connection: AsyncConnection, projection: str, generation: int) -> int:
    """Up to which of them (inclusive) a generation's rows have been put right."""
    statement = select(generations.c.late_to).where(row_of(projection, generation))
    return await connection.scalar(statement) or 0


async def pending(
    connection: AsyncConnection, source: str, after: int, *, limit: int | None = None
) -> list[tuple[int, int]]:
    """Numbers and positions of those of a source with a number above this, in order of number."""
    columns = late_events.c
    statement = select(columns.id, columns.position).where(
        columns.source == source, columns.id > after
    )
    rows = await connection.execute(statement.order_by(columns.id).limit(limit))
    return [(row.id, row.position) for row in rows]


async def set_late_to(
    connection: AsyncConnection, projection: str, generation: int, number: int
) -> None:
    """Records up to which of them (inclusive) a generation's rows have been put right."""
    statement = update(generations).where(row_of(projection, generation))
    await connection.execute(statement.values(late_to=number))


async def put_right_again(
    connection: AsyncConnection, projection: str, generation: int, number: int
) -> None:
    """Has those with a number above this put right once more, if they were."""
    statement = update(generations).where(
        row_of(projection, generation), generations.c.late_to > number
    )
    await connection.execute(statement.values(late_to=number))


async def counted(connection: AsyncConnection, source: str) -> tuple[int, int, int]:
    """How many gaps are looked at again, how many positions they have, how many late events."""
    gaps = passed_gaps.c
    size = func.coalesce(func.sum(gaps.high - gaps.low + 1), 0)
    row = (await connection.execute(select(func.count(), size).where(gaps.source == source))).one()
    late = select(func.count()).where(late_events.c.source == source)
    return row[0], int(row[1]), await connection.scalar(late) or 0


async def forget(connection: AsyncConnection, older_than: timedelta) -> int:
    """Forgets those that no generation, snapshot or run needs any more.

    A snapshot that is restored is put right from the first one on.

    Returns:
        How many were forgotten.
    """
    found = late_events.c.found_at
    needed = select(func.min(generations.c.late_to)).where(generations.c.status != DISCARDED)
    since_snapshot = select(func.min(snapshots.c.created_at))
    since_run = select(func.min(runs.c.started_at)).where(runs.c.ended_at.is_(None))
    now = func.now()
    old = select(late_events.c.id).where(
        found < now - older_than,
        late_events.c.id <= func.coalesce(needed.scalar_subquery(), 0),
        found < func.coalesce(since_snapshot.scalar_subquery(), now),
        found < func.coalesce(since_run.scalar_subquery(), now),
    )
    gone = delete(late_events).where(late_events.c.id.in_(old.limit(_AT_A_TIME)))
    return (await connection.execute(gone)).rowcount
