"""A run's counters, as the database has committed them."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.messages.run.life import ProgressReport
from refold.runtime.database import autocommit
from refold.store.side_keys import slices


async def report_of(engine: AsyncEngine, run_id: str) -> ProgressReport:
    """The run's counters as they are committed now."""
    looking = autocommit(engine)
    async with looking.connect() as connection:
        return await read_report(connection, run_id)


# In one round trip: it is read while a run works, and at the end of each of its segments.
_REPORT = text(
    """
    SELECT coalesce(r.followed_events, 0) AS followed_events, r.holding, clock_timestamp() AS at,
           coalesce(r.plan -> 'key_cuts', '[]') NOT IN ('[]', 'null') AS is_keyed,
           (SELECT count(*) FROM refold.dead_letters AS d WHERE d.projection = r.projection
              AND d.generation = CAST(r.plan ->> 'generation' AS int)) AS dead_letters,
           (SELECT coalesce(jsonb_agg(jsonb_build_object(
                       'partition', p.partition, 'events_processed', p.processed_events,
                       'total_events', p.total_events, 'done', p.done) ORDER BY p.partition), '[]')
            FROM refold.partitions AS p WHERE p.run_id = given.run_id) AS partitions
    FROM (SELECT CAST(:run_id AS text) AS run_id) AS given LEFT JOIN refold.runs AS r USING (run_id)
    """
).columns(partitions=JSONB)


async def read_report(connection: AsyncConnection, run_id: str) -> ProgressReport:
    """The run's counters as they are committed."""
    found = (await connection.execute(_REPORT, {"run_id": run_id})).one()
    keyed = (0, 0)
    if found.is_keyed:
        keyed = await slices.counted(connection, run_id)
    return ProgressReport(
        partitions=found.partitions,
        followed_events=found.followed_events,
        at=found.at,
        holding=found.holding,
        dead_letters=found.dead_letters,
        keyed_slices=keyed[0],
        keyed_events=keyed[1],
    )
