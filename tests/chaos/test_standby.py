"""A real failover: the primary dies, its standby takes its place, the old one comes back as one."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from temporalio.client import Client

from refold.projection.registry import Registry
from refold.runtime.database import make_engine
from refold.runtime.reachability import check_reachable
from refold.runtime.settings import Settings
from refold.stack.postgres import EmbeddedPostgres
from refold.store.schema import events
from tests.support.counting import counted_events, counting
from tests.support.databases import make_database, make_template
from tests.support.ports import free_port
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import (
    assert_oracle,
    checkpoint,
    leftovers,
    queue,
    run,
    start,
    until,
    working,
    write,
)
from tests.support.standby import demote, follow_closely, in_thread, make_standby, promote
from tests.support.watching import until_batches

_KEYS = 400


@pytest.fixture
def own_directory() -> Iterator[Path]:
    """A directory for servers, which run as another account than this one: others may enter it."""
    with tempfile.TemporaryDirectory(prefix="refold-standby-") as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_a_run_and_a_live_projection_outlive_a_real_failover(
    client: Client, tmp_path: Path, own_directory: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"standby: seed {seed}")
    primary = EmbeddedPostgres(own_directory / "one", free_port())
    await in_thread(primary, "start")
    await make_template(primary)
    database = await make_database(primary)
    standby = await asyncio.to_thread(make_standby, primary, own_directory / "two")
    await in_thread(standby, "start")
    try:
        await follow_closely(primary)
        await write(database.engine, counted_events(_KEYS))
        async with working(client, database, Registry([counting])):
            await run(client, database, "Rebuild", "counting")
        await write(database.engine, counted_events(_KEYS))
        await database.engine.dispose()
        name = database.url.rsplit("/", 1)[1]
        after = dataclasses.replace(
            database,
            url=f"{standby.url.rsplit('/', 1)[0]}/{name}",
            engine=make_engine(Settings(database_url=f"{standby.url.rsplit('/', 1)[0]}/{name}")),
        )
        with pytest.raises(OSError, match="takes writes"):
            await check_reachable(after.engine)
        # The one that will have been demoted is tried first.
        first, second = (one.url.split("@")[1].split("/")[0] for one in (primary, standby))
        both = f"postgresql://postgres@{first},{second}/{name}?connect_timeout=3"
        environment = worker_environment(
            client,
            database,
            REFOLD_PROJECTIONS="tests.support.counting",
            REFOLD_DATABASE_URL=both,
        )
        with worker_processes(environment, tmp_path) as workers:
            worker = workers.start()
            following = await client.start_workflow(
                "Projection",
                {"projection": "counting"},
                id=f"projection/{queue(database)}",
                task_queue=queue(database),
            )
            request = {"projection": "counting", "batch_size": 20}
            handle = await start(client, database, "Rebuild", request)
            await until_batches(database, 3)
            await database.engine.dispose()
            await asyncio.sleep(random.Random(seed).uniform(0, 1))
            await in_thread(primary, "kill")
            await promote(standby)
            await asyncio.to_thread(demote, own_directory / "one", standby)
            await in_thread(primary, "start")
            result = await asyncio.wait_for(handle.result(), 120)
            assert result.generation == 2
            await write(after.engine, counted_events(_KEYS))
            async with after.engine.connect() as connection:
                highest = await connection.scalar(select(func.max(events.c.position)))

            async def caught_up() -> bool:
                return bool(await checkpoint(after.engine, counting) == highest)

            await until(caught_up, 90)
            await following.terminate()
            assert await worker.terminate() == 0
        assert await assert_oracle(after.engine, counting)
        assert await leftovers(after.engine) == []
        await after.engine.dispose()
    finally:
        await in_thread(primary, "stop")
        await in_thread(standby, "stop")
