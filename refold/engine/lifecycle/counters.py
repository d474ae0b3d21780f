"""A run's counters, as the database has committed them."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.messages.run.life import PartitionProgress, ProgressReport
from refold.store import dead_letters, partitions, runs
from refold.store.side_keys import slices


async def read_report(connection: AsyncConnection, run_id: str) -> ProgressReport:
    """The run's counters as they are committed."""
    run = await runs.get(connection, run_id)
    counted = await partitions.counts(connection, run_id)
    letters = 0
    if run is not None and run.plan is not None:
        written = int(run.plan["generation"])
        letters = await dead_letters.count(connection, run.projection, written)
    keyed = (0, 0)
    if run is not None and run.plan is not None and run.plan.get("key_cuts"):
        keyed = await slices.counted(connection, run_id)
    now = await connection.scalar(select(func.clock_timestamp()))
    assert now is not None
    return ProgressReport(
        partitions=[
            PartitionProgress(
                partition=count.partition,
                events_processed=count.processed_events,
                total_events=count.total_events,
                done=count.done,
            )
            for count in counted
        ],
        followed_events=run.followed_events if run else 0,
        at=now,
        holding=run.holding if run else None,
        dead_letters=letters,
        keyed_slices=keyed[0],
        keyed_events=keyed[1],
    )
