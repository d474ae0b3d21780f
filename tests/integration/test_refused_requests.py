"""A request that is refused leaves nothing in Temporal's list when somebody was told why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from refold import ProjectionManager
from refold.errors import (
    InvalidRequest,
    ProjectionBusy,
    RefoldError,
    RunFailed,
    UnknownProjection,
)
from refold.worker.chores.presence import Presence
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.letters import failed
from tests.support.live import until_status
from tests.support.runs import leftovers, queue, start, until, working, write
from tests.support.soaking import mostly_soak

pytestmark = pytest.mark.usefixtures("counters_built")


@pytest.fixture
async def manager(client: Client, database: Database) -> AsyncIterator[ProjectionManager]:
    """A manager, a worker that has shown itself, and a read model."""
    made = ProjectionManager(client, database.url, task_queue=queue(database))
    registry = registry_of(counters())
    async with working(client, database, registry):
        await Presence(
            database.engine, registry, f"{client.namespace}/{queue(database)}"
        ).run_once()
        yield made
    await made.close()


async def listed(client: Client, database: Database) -> list[Any]:
    """All workflows of the test's workers, as the list has them."""
    query = f"TaskQueue = '{queue(database)}'"
    return [row async for row in client.list_workflows(query)]


async def only(client: Client, database: Database, *statuses: WorkflowExecutionStatus) -> None:
    """Waits until the list, which is a moment behind, has these and no others."""

    async def there() -> bool:
        return sorted(row.status for row in await listed(client, database)) == sorted(statuses)

    await until(there)


Asks = Callable[[ProjectionManager], Awaitable[object]]
RUNNING, FAILED = WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.FAILED

# By workflow ids of their own: other tests use the usual ones at the same time.
REFUSED: dict[str, tuple[type[RefoldError], Asks]] = {
    "nothing to go back to": (RunFailed, lambda m: m.rollback_projection("counters")),
    "no such projection": (UnknownProjection, lambda m: m.rebuild("countres")),
    "no batch size": (InvalidRequest, lambda m: m.rebuild("counters", batch_size=-1)),
    "beyond the log": (RunFailed, lambda m: m.rebuild("counters", as_of=10_000)),
}


@pytest.mark.parametrize("what", mostly_soak(*REFUSED, suite=1))
async def test_who_asks_is_told_and_the_list_stays_clean(
    client: Client, database: Database, manager: ProjectionManager, what: str
) -> None:
    error, ask = REFUSED[what]
    with pytest.raises(error) as refused:
        await ask(manager)
    assert str(refused.value)
    await only(client, database)
    assert await leftovers(database.engine) == []


async def test_a_projection_that_is_held_is_refused_before_anything_is_started(
    client: Client, database: Database, manager: ProjectionManager
) -> None:
    holding = await start(
        client,
        database,
        "Rebuild",
        {"projection": "counters", "approval": "manual"},
        workflow_id=f"holds/{queue(database)}",
    )
    await until_status(holding, "awaiting_approval")
    for ask in (manager.start_rebuild, manager.start_backfill, manager.start_rollback):
        with pytest.raises(ProjectionBusy, match=holding.id):
            await ask("counters")
    # A plan holds nothing.
    assert (await manager.plan("Rebuild", "counters")).keys == 40
    await only(client, database, RUNNING)
    await holding.signal("reject")
    await holding.result()


@pytest.mark.soak
async def test_a_lease_whose_workflow_has_ended_refuses_nobody(
    client: Client, database: Database, manager: ProjectionManager
) -> None:
    holding = await start(
        client, database, "Rebuild", {"projection": "counters", "approval": "manual"}
    )
    await until_status(holding, "awaiting_approval")
    await holding.terminate()
    assert (await manager.rebuild("counters")).status == "completed"


@pytest.mark.soak
async def test_what_began_and_failed_stays(
    client: Client, database: Database, manager: ProjectionManager
) -> None:
    await write(database.engine, [("bad", "Broken", {"key": "k000"})])
    with pytest.raises(RunFailed):
        await manager.rebuild("counters")
    await only(client, database, FAILED)


async def test_what_nobody_waits_for_stays_and_says_why(
    client: Client, database: Database, manager: ProjectionManager
) -> None:
    handle = await start(client, database, "Rollback", {"projection": "counters"})
    assert "expected a retained generation" in (await failed(handle)).message
    await only(client, database, FAILED)
    # By the manager, too, when nobody waits for the end.
    detached = await manager.start_rollback("counters")
    other = client.get_workflow_handle(detached.workflow_id, run_id=detached.run_id)
    await failed(other)
    assert (await other.describe()).status is FAILED
    with pytest.raises(RunFailed, match="expected a retained generation"):
        await manager.result(detached)

    async def gone() -> bool:
        try:
            await other.describe()
        except RPCError:
            return True
        return False

    await until(gone)
