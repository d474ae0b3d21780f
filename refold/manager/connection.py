"""What the parts of a manager share: Temporal's client, and one engine for the database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from refold.errors import ConfigurationError
from refold.manager.known import require_known
from refold.runtime.database import autocommit, make_engine
from refold.runtime.missing_rights import naming_rights
from refold.runtime.settings import Settings
from refold.runtime.temporal.readable import require_readable
from refold.store.deployments import queue_of


class Connection:
    """A manager's way to Temporal and to the database.

    Args:
        client: A Temporal client.
        database_url: PostgreSQL with Refold's schema; None for none.
        task_queue: The task queue of Refold's workers.
        tenant_path: Where an event names its tenant; None for events without tenants.
    """

    def __init__(
        self,
        client: Client,
        database_url: str | None,
        *,
        task_queue: str,
        tenant_path: str | None = None,
    ) -> None:
        self.client = client
        self.task_queue = task_queue
        self.tenant_path = tenant_path
        self._database_url = database_url
        self._made_engine: AsyncEngine | None = None

    @property
    def has_database(self) -> bool:
        """Whether it was made with the database's address."""
        return self._database_url is not None

    @property
    def engine(self) -> AsyncEngine:
        """One for the manager's life, made when it is first needed.

        Raises:
            ConfigurationError: It was made without the database's address.
        """
        if self._database_url is None:
            raise ConfigurationError(
                "expected the database's address for this call, got none: set REFOLD_DATABASE_URL "
                "for the command line, or make ProjectionManager(client, database_url)"
            )
        if self._made_engine is None:
            settings = Settings(database_url=self._database_url)
            self._made_engine = make_engine(settings, activities=0)
        return self._made_engine

    @property
    def queue(self) -> str:
        """What its workers share, as `refold.store.deployments` has it."""
        return queue_of(self.client.namespace, self.task_queue)

    async def require_known(self, name: str) -> None:
        """Requires that there is a projection of that name; without a database nobody knows.

        Raises:
            UnknownProjection: There is none.
        """
        if self.has_database:
            await require_known(self.engine, name, self.queue)

    async def require_keys(self) -> None:
        """Requires that this process has the keys of what the workers run.

        Raises:
            UnreadablePayload: It lacks one: nothing is sent.
        """
        await require_readable(self.client, self.task_queue)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[AsyncConnection]:
        """A connection in autocommit, for looking.

        Raises:
            ConfigurationError: It was made without the database's address.
            RightDenied: Its role may not; the message names the right.
        """
        looking = autocommit(self.engine)
        async with naming_rights(self.engine), looking.connect() as connection:
            yield connection

    @asynccontextmanager
    async def begun(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction, for changing something.

        Raises:
            ConfigurationError: It was made without the database's address.
            RightDenied: Its role may not; the message names the right.
        """
        async with naming_rights(self.engine), self.engine.begin() as connection:
            yield connection

    async def close(self) -> None:
        """Closes the connections to the database; the next call that needs some opens new ones."""
        engine, self._made_engine = self._made_engine, None
        if engine is not None:
            await engine.dispose()


async def is_running(handle: WorkflowHandle[Any, Any]) -> bool:
    """Whether a workflow has begun and not ended.

    Raises:
        RPCError: Temporal does not know it, or does not answer.
    """
    return (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
