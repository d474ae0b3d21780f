"""A mirror from Python and on the command line: steered, and its health told."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import (
    Client,
)

from refold import MirrorHealth, ProjectionManager
from refold.errors import (
    InvalidRequest,
    NoRun,
)
from refold.source.mirrors import MirroredEvent
from tests.support.databases import Database
from tests.support.forked import ForkedProcess
from tests.support.forked import refold as refold_command
from tests.support.live import ended_after
from tests.support.mirrored import Feed, numbered
from tests.support.mirroring import (
    MIRRORS,
    at_work,
    fresh,
    until_is,
    until_landed,
)
from tests.support.processes import ROOT, worker_environment
from tests.support.runs import queue, until


@pytest.fixture
def source() -> Iterator[Feed]:
    with fresh() as feed:
        yield feed


async def test_it_is_steered_and_its_health_told(
    client: Client, database: Database, source: Feed
) -> None:
    source.events = [numbered(number) for number in range(100)]
    manager = ProjectionManager(client, database.url, task_queue=queue(database))

    async def is_(status: str) -> bool:
        return [one.status for one in await manager.get_mirrors()] == [status]

    async def health() -> MirrorHealth:
        (one,) = await manager.get_mirrors()
        return one

    async with manager, at_work(client, database), ended_after(client, "mirror/feed"):
        with pytest.raises(NoRun, match="starts it"):
            await manager.pause_mirror("feed")
        with pytest.raises(InvalidRequest, match="batch_size"):
            await manager.start_mirror("feed", batch_size=0)
        assert await manager.start_mirror("feed", batch_size=10, events_per_second=20)
        assert not await manager.start_mirror("feed", events_per_second=40)
        await until_landed(database, 10)
        await manager.pause_mirror("feed")
        await until(lambda: is_("paused"))
        stands = await health()
        assert (stands.is_healthy, stands.cursor) == (False, {"at": stands.events})
        assert stands.reason == "it is paused: `refold events mirror feed --resume`"
        changed = await manager.set_mirror_limits("feed", events_per_second=0)
        assert (changed.batch_size, changed.events_per_second) == (10, 0)
        await manager.resume_mirror("feed")
        await until(lambda: is_("live"))
        lives = await health()
        assert (lives.is_healthy, lives.events, lives.lag_seconds) == (True, 100, 0.0)
        source.events.append(MirroredEvent("", {}, stream_id="x", version=1))
        await until(lambda: is_("failed"))
        assert "it stands: event of type ''" in str((await health()).reason)
        await manager.cancel_mirror("feed", "enough")
        await until(lambda: is_("cancelled"))
        assert (await health()).is_healthy
        # One that is terminated is missed.
        await manager.start_mirror("feed")
        await until(lambda: is_("failed"))
        await client.get_workflow_handle("mirror/feed").terminate()

        async def is_missed() -> bool:
            return "does not run any more" in str((await health()).reason)

        await until(is_missed)


def told(environment: dict[str, str], directory: Path, *arguments: str) -> tuple[int, str]:
    """A command's exit status, and what it has written."""
    files = directory / f"out-{next(_numbers)}", directory / "err"
    process = ForkedProcess(
        refold_command, arguments, directory=ROOT, environment=environment, output=files
    )
    return process.wait(60), files[0].read_text()


_numbers = itertools.count()


async def test_status_and_health_show_mirrors_on_the_command_line(
    client: Client, database: Database, source: Feed, tmp_path: Path
) -> None:
    source.events = [numbered(number) for number in range(3)]
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.counting",
        REFOLD_MIRRORS=MIRRORS[0],
    )

    async def refold(*arguments: str) -> tuple[int, str]:
        return await asyncio.to_thread(told, environment, tmp_path, *arguments)

    async with at_work(client, database), ended_after(client, "mirror/feed"):
        assert (await refold("events", "mirror", "--status"))[1].startswith("no mirror has begun")
        status, out = await refold("events", "mirror", "--rate", "1000", "--json")
        assert (status, json.loads(out)["asked"]) == (0, "start")
        assert (await refold("events", "mirror", "nobody"))[0] == 1
        assert (await refold("events", "mirror", "--pause", "--stop"))[0] == 2
        await until_landed(database, 3)
        handle = client.get_workflow_handle("mirror/feed")
        await until_is(handle, "live")
        assert (await refold("events", "mirror", "feed", "--status"))[0] == 0
        shown = json.loads((await refold("status", "--json"))[1])
        (row,) = [one for one in shown if one.get("mirror")]
        assert (row["mirror"], row["status"], row["events"]) == ("feed", "live", 3)
        assert (await refold("events", "mirror", "feed", "--pause"))[0] == 0
        await until_is(handle, "paused")
        status, out = await refold("health")
        assert status == 1
        assert "it is paused" in out
        assert "it is paused" in (await refold("status"))[1]
        assert (await refold("events", "mirror", "--stop"))[0] == 0
        await handle.result()
