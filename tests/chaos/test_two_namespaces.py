"""Workers of two namespaces on one database, for long: each leaves the other's runs alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowFailureError

from refold.store import leases
from tests.integration.test_installations import another_namespace
from tests.support.counting import counted_events, counting
from tests.support.databases import Database
from tests.support.live import until_status
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import assert_oracle, leftovers, start, write

_SECONDS = 2 * leases.SILENCE_SECONDS


@pytest.mark.soak
async def test_a_paused_run_outlives_the_others_sweeps(
    client: Client, database: Database, tmp_path: Path
) -> None:
    await write(database.engine, counted_events(50))
    other = await another_namespace(client)
    here = worker_environment(client, database, REFOLD_PROJECTIONS="tests.support.counting")
    for directory in ("here", "there"):
        (tmp_path / directory).mkdir()
    with (
        worker_processes(here, tmp_path / "here") as own,
        worker_processes({**here, "TEMPORAL_NAMESPACE": "another"}, tmp_path / "there") as others,
    ):
        own.start()
        others.start()
        handle = await start(
            client, database, "Rebuild", {"projection": "counting", "approval": "manual"}
        )
        await until_status(handle, "awaiting_approval")
        await handle.signal("pause")
        await until_status(handle, "paused")
        clock = asyncio.get_running_loop().time
        end = clock() + _SECONDS
        number = 0
        while clock() < end:
            number += 1
            second = await start(
                other,
                database,
                "Rebuild",
                {"projection": "counting"},
                workflow_id=f"second/{number}/{database.url}",
            )
            with pytest.raises(WorkflowFailureError) as refused:
                await asyncio.wait_for(second.result(), 60)
            assert "of another installation, namespace 'default'" in str(refused.value.cause)
            async with database.engine.connect() as connection:
                lease = await leases.holder(connection, "counting")
            assert lease is not None
            assert lease.run_id == handle.result_run_id
            assert not lease.silent
            await asyncio.sleep(5)
        await handle.signal("resume")
        await handle.signal("approve")
        assert (await asyncio.wait_for(handle.result(), 60)).status == "completed"
        assert "removing what it left" not in others.output
        await assert_oracle(database.engine, counting)
    assert await leftovers(database.engine) == []
