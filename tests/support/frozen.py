"""Looking at snapshots: their rows, the generations, and why a run failed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from refold import Projection, Row
from refold.messages.run.life import BackfillResult
from refold.projection.key import Key
from refold.store import generations
from tests.support.databases import Database
from tests.support.runs import events_upto


async def frozen(database: Database, projection: Projection, generation: int) -> dict[Key, Row]:
    """The rows of a snapshot, which must be the fold of the events up to its checkpoint."""
    async with database.engine.connect() as connection:
        found = await generations.get(connection, projection.name, generation)
        assert found is not None
        assert found.status == "snapshot"
        select = text(f"SELECT * FROM {found.schema_name}.{found.table_name}")
        rows = {row.key: dict(row._mapping) for row in await connection.execute(select)}
    assert rows == projection.fold(await events_upto(database.engine, projection, found.position))
    assert found.rows == len(rows)
    return rows


async def statuses(database: Database) -> list[tuple[int, str]]:
    async with database.engine.connect() as connection:
        known = await generations.of_projection(connection, "counters")
    return [(one.generation, one.status) for one in known]


async def failure(handle: WorkflowHandle[Any, BackfillResult]) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(handle.result(), 60)
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.non_retryable
    return failed.value.cause
