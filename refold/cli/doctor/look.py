"""What checks are given: the settings, and what of the deployment has been reached."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.client import Client

from refold.cli.doctor.finding import Finding
from refold.manager.health import FROZEN_SECONDS
from refold.projection.registry import Registry
from refold.runtime.database import autocommit
from refold.runtime.settings import Settings
from refold.store.deployments import queue_of


class Need(StrEnum):
    """What a check cannot do without."""

    PROJECTIONS = "the projections"
    DATABASE = "the database"
    SCHEMA = "Refold's schema"
    TEMPORAL = "Temporal"
    NAMESPACE = "the namespace"


@dataclass
class Look:
    """One look at a deployment.

    Attributes:
        settings: The settings of this process, which workers should have, too.
        registry: The projections, once they are loaded.
        made_engine: The engine, once the database is asked for.
        made_client: The client, once Temporal is asked for.
        clock: What time it is on this machine.
        free_bytes: How much room there is where a directory is; raises OSError when that cannot be
            seen.
        frozen_seconds: A transaction that has been open for so long does not end by itself.
        reached: What checks may use by now.
    """

    settings: Settings
    registry: Registry | None = None
    clock: Callable[[], datetime] = field(default_factory=lambda: _now)
    free_bytes: Callable[[str], int] = field(default_factory=lambda: _free_bytes)
    frozen_seconds: float = FROZEN_SECONDS
    reached: set[Need] = field(default_factory=set)
    made_engine: AsyncEngine | None = None
    made_client: Client | None = None

    @property
    def client(self) -> Client:
        """Temporal's client, for checks that need Temporal."""
        assert self.made_client is not None
        return self.made_client

    @property
    def queue(self) -> str:
        """What the workers share that can take each other's tasks; needs Temporal."""
        return queue_of(self.client.namespace, self.settings.task_queue)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[AsyncConnection]:
        """A connection in autocommit, for checks that need the database."""
        assert self.made_engine is not None
        looking = autocommit(self.made_engine)
        async with looking.connect() as connection:
            yield connection


@dataclass(frozen=True)
class Check:
    """One thing that is looked at.

    Attributes:
        name: Its name, as people are told of it.
        carry_out: What finds out. It may raise: then that is what is wrong.
        needs: What it cannot do without.
    """

    name: str
    carry_out: Callable[[Look], Awaitable[list[Finding]]]
    needs: tuple[Need, ...] = ()


def _now() -> datetime:
    return datetime.now(UTC)


def _free_bytes(directory: str) -> int:
    return shutil.disk_usage(directory).free
