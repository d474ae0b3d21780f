"""`refold migrate`: brings the schema ``refold`` to this version, safely from several places.

Alembic is imported by the functions that use it: most commands do without it, and start sooner.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.errors import NotMigrated
from refold.runtime.database import raw
from refold.store.roles.names import Roles
from refold.store.roles.script import grants_statement
from refold.store.schema import SCHEMA
from refold.store.swap.blockers import blockers_of

if TYPE_CHECKING:
    from alembic.config import Config

logger = logging.getLogger(__name__)

_OWNER = text(f"SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = '{SCHEMA}'")
# A superuser who migrates makes nothing that the migrator would not own.
_AS_OWNER = text(
    f"""
    SELECT set_config('role', rolname, true)
    FROM pg_roles JOIN pg_namespace ON nspowner = pg_roles.oid
    WHERE nspname = '{SCHEMA}' AND rolname <> current_user
      AND pg_has_role(current_user, pg_roles.oid, 'MEMBER')
    """
)

_LOOK_SECONDS = 2.0

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
    async with engine.begin() as connection, _watched(engine, connection):
        # Held to the end of the transaction: a second migration waits, then finds all done.
        await connection.execute(text("SELECT pg_advisory_xact_lock(:l)"), {"l": _MIGRATION_LOCK})
        owner = await connection.scalar(_OWNER)
        if owner is None:
            # Not IF NOT EXISTS: that would need the right to make schemas even where it is there.
            await connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
        roles = Roles.of_owner(owner) if owner is not None else None
        if roles is not None:
            await connection.execute(_AS_OWNER)
        present, needed = await connection.run_sync(_versions)
        if present == needed:
            return False
        await connection.run_sync(_upgrade)
        if roles is not None:
            await (await raw(connection)).execute(grants_statement(roles))
        return True


@asynccontextmanager
async def _watched(engine: AsyncEngine, connection: AsyncConnection) -> AsyncIterator[None]:
    """Says, as long as it goes on, for whom the connection waits."""
    pid = await connection.scalar(text("SELECT pg_backend_pid()"))
    watcher = asyncio.create_task(_tell(engine, int(pid or 0)))
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])


async def _tell(engine: AsyncEngine, pid: int) -> None:
    told: list[str] = []
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        who = []
        # What it finds is for people only: the migration itself finds out what is the matter.
        with contextlib.suppress(Exception):
            async with engine.connect() as connection:
                who = [str(blocker) for blocker in await blockers_of(connection, pid)]
        if who and who != told:
            logger.warning("the migration waits for %s", "; ".join(who))
        told = who


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
