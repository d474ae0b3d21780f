"""Looking at snapshots that are kept as changes: their rows, and where they are."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from refold import Projection, Row
from refold.engine.folding.restored_snapshot import restore_snapshot
from refold.messages.run.plan import Plan
from refold.projection.key import Key
from refold.store import dead_letters, generations
from refold.store.generations import BUILDING
from refold.store.snapshots import copies, kept, rebuilt
from refold.store.snapshots.kept import Kept
from refold.store.tables import read_models
from tests.support.databases import Database
from tests.support.runs import events_upto, until


async def kept_snapshots(database: Database, projection: str = "counters") -> list[Kept]:
    """The oldest first."""
    async with database.engine.connect() as connection:
        return list(reversed(await kept.newest_first(connection, projection)))


async def kept_positions(database: Database) -> list[int]:
    """Of the snapshots of `counters`, the oldest first."""
    return [one.position for one in await kept_snapshots(database)]


async def until_kept(database: Database, *expected: int) -> None:
    async def there() -> bool:
        return await kept_positions(database) == list(expected)

    await until(there, 30)


async def rows_at(database: Database, projection: Projection, snapshot: Kept) -> dict[Key, Row]:
    """The rows of a snapshot, while others go on writing."""
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        async with connection.begin():
            source = await generations.get(connection, projection.name, snapshot.generation)
            assert source is not None
            return await rebuilt.read(connection, projection, source, snapshot)


async def assert_kept(database: Database, projection: Projection, snapshot: Kept) -> None:
    """The rows of a snapshot are the fold of the events up to its position."""
    expected = projection.fold(await events_upto(database.engine, projection, snapshot.position))
    assert await rows_at(database, projection, snapshot) == expected


async def assert_all_kept(database: Database, projection: Projection) -> list[int]:
    """All snapshots are what they should be; their positions, the oldest first."""
    there = await kept_snapshots(database, projection.name)
    for snapshot in there:
        await assert_kept(database, projection, snapshot)
    return [one.position for one in there]


async def filled(
    database: Database, projection: Projection, snapshot: Kept
) -> tuple[dict[Any, Any], list[tuple[Any, int]]]:
    """The rows and the dead letters that a new generation begins with, when it is restored."""
    plan = Plan(
        run_id="r",
        projection=projection.name,
        version=projection.version,
        generation=1,
        atomic=True,
        position=snapshot.position,
        head=0,
        partitions=0,
        max_concurrency=1,
        batch_size=1,
        total_events=0,
        heartbeat_seconds=1,
        snapshot=snapshot.id,
    )
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        async with connection.begin() as transaction:
            source = await generations.get(connection, projection.name, snapshot.generation)
            assert source is not None
            copy = await copies.create_copy(connection, projection, run_id="r")
            assert copy.status == BUILDING
            count = await restore_snapshot(connection, projection, plan, copy, source)
            table = read_models.quoted(copy.schema_name, copy.table_name)
            rows = {
                row.key: dict(row._mapping)
                for row in await connection.execute(text(f"SELECT * FROM {table}"))
            }
            assert count == len(rows)
            letters = await dead_letters.listed(connection, projection.name, copy.generation)
            await transaction.rollback()
    return rows, sorted((letter.key, letter.position) for letter in letters)
