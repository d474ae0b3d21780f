"""Looking at snapshots that are kept as changes: their rows, and where they are."""

from __future__ import annotations

from refold import Projection, Row
from refold.projection.key import Key
from refold.store import generations
from refold.store.snapshots import kept, rebuilt
from refold.store.snapshots.kept import Kept
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
