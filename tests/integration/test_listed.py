"""Runs and live projections in Temporal's list: found by attributes, told apart at the end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from refold.messages.search_attributes import SEARCH_ATTRIBUTES
from refold.runtime.temporal.search_attributes import Listing, missing, register
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import live
from tests.support.mirroring import at_work, fresh, mirror
from tests.support.runs import queue, start, until, working, write


@pytest.fixture(scope="module")
async def unlisted(temporal: WorkflowEnvironment) -> Client:
    """A client of a namespace of its own, which has no search attributes of Refold's."""
    return await _of_namespace(temporal.client)


@pytest.fixture(scope="module")
async def listed(temporal: WorkflowEnvironment) -> Client:
    """A client of a namespace of its own, which has them."""
    client = await _of_namespace(temporal.client)
    assert set(await register(client)) == {*SEARCH_ATTRIBUTES}

    async def there() -> bool:
        return not await missing(client)

    await until(there)
    return client


async def _of_namespace(client: Client) -> Client:
    name = f"listed-{uuid4().hex}"
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromSeconds(86_400)
    await client.workflow_service.register_namespace(request)
    target = client.service_client.config.target_host
    connected = await Client.connect(target, namespace=name, data_converter=pydantic_data_converter)

    async def known() -> bool:
        try:
            await missing(connected)
        except RPCError:  # the server's caches do not have it yet
            return False
        return True

    await until(known)
    return connected


async def found(client: Client, database: Database, query: str, count: int = 1) -> list[Any]:
    """What the list finds of a test's workflows, once it has so many: it is a moment behind."""
    rows: list[Any] = []
    query = f"TaskQueue = '{queue(database)}' AND {query}"

    async def enough() -> bool:
        nonlocal rows
        try:
            rows = [row async for row in client.list_workflows(query)]
        except RPCError:  # the attributes are not known everywhere yet
            return False
        return len(rows) >= count

    await until(enough)
    assert len(rows) == count, query
    return rows


async def test_what_awaits_approval_is_a_filter_and_endings_differ(
    listed: Client, database: Database
) -> None:
    await write(database.engine, some(4))
    assert await register(listed) == []
    async with working(listed, database, registry_of(counters())):
        asked = {"projection": "counters", "requested_by": "ann"}
        first = await start(listed, database, "Rebuild", asked, workflow_id="r/1")
        await asyncio.wait_for(first.result(), 60)
        (row,) = await found(listed, database, "RefoldStatus = 'completed'")
        assert row.id == "r/1"
        (row,) = await found(
            listed,
            database,
            "RefoldProjection = 'counters' AND RefoldKind = 'Rebuild' AND RefoldPhase = 'done' "
            "AND RefoldRequestedBy = 'ann'",
        )
        memo = await row.memo()
        assert (memo["generation"], memo["version"], memo["events"]) == (1, 1, 20)
        for signal, ending in (("reject", "rejected"), ("cancel", "cancelled")):
            manual = {"projection": "counters", "approval": "manual"}
            handle = await start(listed, database, "Rebuild", manual, workflow_id=f"r/{signal}")
            (row,) = await found(listed, database, "RefoldStatus = 'awaiting_approval'")
            assert row.id == f"r/{signal}"
            await handle.signal(signal)
            assert (await asyncio.wait_for(handle.result(), 60)).status == "cancelled"
            (row,) = await found(listed, database, f"RefoldStatus = '{ending}'")
            assert row.id == f"r/{signal}"
        await write(database.engine, [("s", "Broken", {"key": "k001"})])
        broken = await start(listed, database, "Rebuild", asked, workflow_id="r/broken")
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(broken.result(), 60)
        assert (await found(listed, database, "RefoldStatus = 'failed'"))[0].id == "r/broken"


@pytest.mark.usefixtures("counters_built")
async def test_each_ending_has_a_word_of_its_own(listed: Client, database: Database) -> None:
    """Beside those above; `ended` is what the query says."""
    bad = ("bad", "Broken", {"key": "k000"})
    endings: list[tuple[str, dict[str, Any], str, str]] = [
        ("Rollback", {}, "failed", "refused"),
        ("Rebuild", {}, "completed", "completed"),
        ("Rollback", {}, "rolled_back", "rolled_back"),
        ("Backfill", {"criteria": "incremental_update"}, "completed", "completed"),
        ("Backfill", {"rollback_on_failure": True}, "undone", "undone"),
    ]
    async with working(listed, database, registry_of(counters())):
        for number, (kind, fields, ended, word) in enumerate(endings):
            if word == "undone":
                await write(database.engine, [bad])
            asked = {"projection": "counters", **fields}
            handle = await start(listed, database, kind, asked, workflow_id=f"e/{number}")
            with suppress(WorkflowFailureError):
                await asyncio.wait_for(handle.result(), 60)
            assert await handle.query("status") == ended
        for word in {one[-1] for one in endings}:
            wanted = {f"e/{number}" for number, one in enumerate(endings) if one[-1] == word}
            query = f"RefoldStatus = '{word}'"
            assert {row.id for row in await found(listed, database, query, len(wanted))} == wanted


async def test_a_live_projection_is_listed(listed: Client, database: Database) -> None:
    await write(database.engine, some(4))
    async with (
        working(listed, database, registry_of(counters())),
        live(listed, database) as following,
    ):
        query = "RefoldKind = 'Projection' AND RefoldProjection = 'counters'"
        assert (await found(listed, database, query))[0].id == following.id
        assert await found(
            listed, database, f"{query} AND RefoldStatus IN ('live', 'needs_rebuild')"
        )


async def test_a_mirror_is_listed(listed: Client, database: Database) -> None:
    with fresh():
        async with (
            at_work(listed, database),
            mirror(listed, database, requested_by="ann") as copying,
        ):
            query = "RefoldKind = 'Mirror' AND RefoldRequestedBy = 'ann'"
            assert (await found(listed, database, f"{query} AND RefoldStatus = 'live'"))[
                0
            ].id == copying.id


@pytest.mark.usefixtures("counters_built")
async def test_without_search_attributes_runs_go_on_unlisted(
    unlisted: Client, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    asked = {"projection": "counters", "criteria": "incremental_update"}
    async with working(unlisted, database, registry_of(counters())):
        for _ in range(2):
            handle = await start(unlisted, database, "Backfill", asked)
            result = await asyncio.wait_for(handle.result(), 60)
            assert result.status == "completed"
    said = [record for record in caplog.records if "search attributes" in record.message]
    assert len(said) == 1  # once
    assert "`refold migrate` registers them" in said[0].message
    listing = Listing()
    assert not await listing.is_there(lambda: unlisted)
    assert not await listing.is_there(lambda: unlisted)
