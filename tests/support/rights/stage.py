"""A database with roles, and somebody who does something there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError
from typer.testing import CliRunner

from refold import Projection
from refold.cli.main import app
from refold.runtime.missing_rights import with_right_named
from refold.store.roles.names import Roles
from refold.worker.chores.caretaker import Caretaker
from refold.worker.chores.chore import Chore
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.roles import logged_in
from tests.support.runs import queue, start, until, working


@dataclass
class Stage:
    """Where things are done.

    Attributes:
        client: Temporal.
        database: For the superuser, who prepares things.
        roles: The names.
        environment: REFOLD_* and others, for commands.
        directory: For files.
    """

    client: Client
    database: Database
    roles: Roles
    environment: pytest.MonkeyPatch
    directory: Path

    @asynccontextmanager
    async def as_(self, kind: str) -> AsyncIterator[Database]:
        """The database for a role, such as ``worker``."""
        async with logged_in(self.database, getattr(self.roles, kind)) as found:
            yield found

    @asynccontextmanager
    async def working(self, *projections: Projection) -> AsyncIterator[Database]:
        """A worker that logs in as its role."""
        async with (
            self.as_("worker") as found,
            working(self.client, found, registry_of(*projections)),
        ):
            yield found

    async def run(self, kind: str, projection: str, **fields: Any) -> str:
        """Runs a workflow; what is said when it fails, or waits for a step that is tried again."""
        handle = await start(self.client, self.database, kind, {"projection": projection, **fields})
        try:
            return await said_of(handle)
        finally:
            with suppress(RPCError):
                await handle.terminate()

    async def command(self, *arguments: str, kind: str = "operator") -> str:
        """Types a command; what it says when it fails."""
        role = getattr(self.roles, kind)
        async with logged_in(self.database, role) as found:
            self.environment.setenv("REFOLD_DATABASE_URL", found.url)
        self.environment.setenv("REFOLD_PROJECTIONS", "tests.support.mortal")
        self.environment.setenv("REFOLD_TASK_QUEUE", queue(self.database))
        target = self.client.service_client.config.target_host
        self.environment.setenv("TEMPORAL_ADDRESS", target)
        ended = await asyncio.to_thread(CliRunner().invoke, app, list(arguments))
        return "" if ended.exit_code == 0 else ended.output

    async def chore(self, database: Database, chore: Chore) -> str:
        """Sees to a chore, as a worker does; what its log says that it cannot do."""
        with _heard() as said:
            await Caretaker(database.engine, [chore]).see_to(chore)
        return "; ".join(said)


async def said_of(handle: WorkflowHandle[Any, Any]) -> str:
    """Waits until a run has ended, or says which step fails; what it says, nothing if it worked."""
    said = ""

    async def known() -> bool:
        nonlocal said
        if (await handle.describe()).close_time is not None:
            try:
                await handle.result()
            except WorkflowFailureError as error:
                said = str(error.cause)
            return True
        with suppress(RPCError):
            progress = await handle.query("progress")
            said = str((progress.get("failing") or {}).get("message", ""))
        return said != ""

    await until(known, 40)
    return said


async def refused(database: Database, work: Callable[[], Awaitable[object]]) -> str:
    """Does something; what is said when it fails."""
    try:
        await work()
    except Exception as error:
        return str(await with_right_named(database.engine, error))
    return ""


@contextmanager
def _heard() -> Iterator[list[str]]:
    said: list[str] = []

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler = Heard(logging.WARNING)
    logger = logging.getLogger("refold.worker")
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
