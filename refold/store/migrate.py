"""`refold migrate`: brings the schema ``refold`` to this version, safely from several places.

Alembic is imported by the functions that use it: most commands do without it, and start sooner.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.errors import NotMigrated
from refold.store.schema import SCHEMA

if TYPE_CHECKING:
    from alembic.config import Config

# Any constant that no other user of the database is likely to lock.
_MIGRATION_LOCK = 0x5EF01D


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _versions(connection: Connection) -> tuple[str | None, str | None]:
    """The schema's version in the database and the one this code needs."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    needed = ScriptDirectory.from_config(_config(connection)).get_current_head()
    return context.get_current_revision(), needed


def _upgrade(connection: Connection) -> None:
    from alembic import command

    command.upgrade(_config(connection), "head")


async def migrate(engine: AsyncEngine) -> bool:
    """Makes or upgrades the schema, in one transaction.

    Returns:
        True when something was changed; False when all was in place.
    """
    async with engine.begin() as connection:
        # Held to the end of the transaction: a second migration waits, then finds all done.
        await connection.execute(text("SELECT pg_advisory_xact_lock(:l)"), {"l": _MIGRATION_LOCK})
        await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        present, needed = await connection.run_sync(_versions)
        if present == needed:
            return False
        await connection.run_sync(_upgrade)
        return True


async def require_migrated(engine: AsyncEngine) -> None:
    """Checks that the database has the schema that this code needs.

    Raises:
        NotMigrated: It has none, or another version.
    """
    async with engine.connect() as connection:
        present, needed = await connection.run_sync(_versions)
    if present != needed:
        raise NotMigrated(
            f"schema {SCHEMA!r}: expected version {needed}, found {present or 'none'}: "
            "run `refold migrate`"
        )
