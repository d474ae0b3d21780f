"""Looking at a run that is steered: its status, progress, and what it has folded."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from temporalio.client import WorkflowHandle

from refold.messages.run.life import Progress
from tests.support.databases import Database
from tests.support.runs import until

Handle = WorkflowHandle[Any, Any]


async def progress_of(handle: Handle) -> Progress:
    progress: Progress = await handle.query("progress", result_type=Progress)
    return progress


async def until_status(handle: Handle, status: str) -> None:
    async def is_so() -> bool:
        return bool(await handle.query("status") == status)

    await until(is_so, 30)


async def processed(database: Database) -> int:
    """Events that the run under way has folded and committed."""
    async with database.engine.connect() as connection:
        found = text("SELECT coalesce(sum(processed_events), 0)::int FROM refold.partitions")
        return int(await connection.scalar(found) or 0)


def spread(count: int) -> list[tuple[str, str, dict[str, Any]]]:
    return [("s", "Added", {"key": f"k{n % 100:02}", "n": n}) for n in range(count)]
