"""Checkpoints in another PostgreSQL: a table of one row a live projection."""

from __future__ import annotations

from sqlalchemy import text

from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.store.checkpoints.address import Address
from refold.store.checkpoints.record import Record

_TABLE = "refold_checkpoints.records"
_THERE = text(f"SELECT to_regclass('{_TABLE}') IS NOT NULL")
_MAKE = (
    "CREATE SCHEMA IF NOT EXISTS refold_checkpoints",
    f"CREATE TABLE IF NOT EXISTS {_TABLE} (name text PRIMARY KEY, position bigint NOT NULL, "
    "next bigint NOT NULL, fence bigint NOT NULL)",
)
# Two that begin at once would both make it.
_LOCK = text("SELECT pg_advisory_xact_lock(6221854)")
_READ = text(f"SELECT position, next, fence FROM {_TABLE} WHERE name = :name")
_CREATE = text(
    f"INSERT INTO {_TABLE} VALUES (:name, :position, :next, :fence) ON CONFLICT DO NOTHING"
)
_ADVANCE = text(
    f"UPDATE {_TABLE} SET position = :position, next = :next, fence = :fence "
    "WHERE name = :name AND position = :old AND fence = :old_fence"
)
_DROP = text(f"DELETE FROM {_TABLE} WHERE name = :name")


class SqlStore:
    """Keeps records in ``refold_checkpoints.records``, which it makes when it is not there.

    Args:
        address: The database; its credentials come from the address or from libpq's own places.
    """

    def __init__(self, address: Address) -> None:
        self._engine = make_engine(Settings(database_url=address.url), activities=1)
        self._made = False

    async def read(self, name: str) -> Record | None:
        """See `CheckpointStore`."""
        await self._make()
        async with self._engine.connect() as connection:
            row = (await connection.execute(_READ, {"name": name})).first()
        return None if row is None else Record(*row)

    async def create(self, name: str, record: Record) -> bool:
        """See `CheckpointStore`."""
        await self._make()
        values = {"name": name, **vars(record)}
        async with self._engine.begin() as connection:
            return (await connection.execute(_CREATE, values)).rowcount == 1

    async def advance(self, name: str, expected: Record, new: Record) -> bool:
        """See `CheckpointStore`."""
        await self._make()
        values = {
            "name": name,
            **vars(new),
            "old": expected.position,
            "old_fence": expected.fence,
        }
        async with self._engine.begin() as connection:
            return (await connection.execute(_ADVANCE, values)).rowcount == 1

    async def drop(self, name: str) -> None:
        """See `CheckpointStore`."""
        await self._make()
        async with self._engine.begin() as connection:
            await connection.execute(_DROP, {"name": name})

    async def close(self) -> None:
        """See `CheckpointStore`."""
        await self._engine.dispose()

    async def _make(self) -> None:
        if self._made:
            return
        async with self._engine.begin() as connection:
            if not await connection.scalar(_THERE):
                await connection.execute(_LOCK)
                for statement in _MAKE:
                    await connection.exec_driver_sql(statement)
        self._made = True
