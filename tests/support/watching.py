"""Looking at a run from outside, in the database."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.databases import Database
from tests.support.runs import until


async def batches(engine: AsyncEngine) -> int:
    """Batches that runs under way have committed."""
    async with engine.connect() as connection:
        found = text("SELECT coalesce(sum(batches), 0)::int FROM refold.partitions")
        return int(await connection.scalar(found) or 0)


async def undone(engine: AsyncEngine) -> int:
    """Events that runs under way have still to refold."""
    async with engine.connect() as connection:
        found = text(
            "SELECT coalesce(sum(total_events - processed_events), 0)::int FROM refold.partitions"
        )
        return int(await connection.scalar(found) or 0)


async def until_batches(database: Database, count: int, seconds: float = 40) -> int:
    """Waits until runs under way have committed so many batches; returns how many there are."""
    seen = 0

    async def reached() -> bool:
        nonlocal seen
        seen = await batches(database.engine)
        return seen >= count

    await until(reached, seconds)
    return seen
