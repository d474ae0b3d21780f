"""A deployment that is well, for faults to be put in and `refold doctor` to find."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold.cli.doctor.look import Look
from refold.projection.registry import Registry
from refold.runtime.settings import Settings
from refold.worker.chores.presence import Presence
from tests.support.databases import Database

QUEUE = "doctor"


@dataclass
class Patient:
    """A deployment that is well until a fault is put in.

    Attributes:
        database: Its database.
        client: Temporal, in the namespace of its own.
        look: What the checks are given.
        environment: TEMPORAL_* and others.
        directory: For files.
        stack: What is put in ends with it.
    """

    database: Database
    client: Client
    look: Look
    environment: pytest.MonkeyPatch
    directory: Path
    stack: AsyncExitStack

    async def execute(self, *statements: str) -> None:
        """Executes statements as the superuser, one after another."""
        async with self.database.engine.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement))

    async def show(self, registry: Registry, workers: int = 1) -> None:
        """Lets workers show themselves that have these projections."""
        for _ in range(workers):
            await Presence(self.database.engine, registry, self.look.queue).run_once()

    def address(self, url: str) -> None:
        """Lets REFOLD_DATABASE_URL lead elsewhere."""
        self.look.settings = self.look.settings.model_copy(update={"database_url": url})

    async def log_in(self, *without: str) -> str:
        """Looks as a role that has all that workers need, except what these statements take away.

        The role's name stands for ``{role}``, the database's for ``{database}``.
        """
        address = urlsplit(self.database.url)
        database = address.path[1:]
        role = f"worker_of_{database}"
        given = (
            "CREATE ROLE {role} LOGIN",
            "GRANT CREATE ON DATABASE {database} TO {role}",
            "GRANT USAGE, CREATE ON SCHEMA refold, public TO {role}",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA refold TO {role}",
        )
        names = {"role": role, "database": database}
        await self.execute(*[one.format(**names) for one in (*given, *without)])
        self.stack.push_async_callback(self.execute, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
        self.address(
            address._replace(netloc=f"{role}@{address.netloc.rpartition('@')[2]}").geturl()
        )
        return role


def settings_of(database: Database) -> Settings:
    """The settings of a deployment that is well."""
    return database.settings.model_copy(update={"task_queue": QUEUE})
