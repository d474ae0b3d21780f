"""Events of 2 MB each, by the default settings: what a worker takes does not depend on them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold import Projection
from tests.support.databases import Database
from tests.support.documents import documents, lengths, lines
from tests.support.letters import assert_held_oracle
from tests.support.live import live
from tests.support.memory import MB, peak, reset_peak
from tests.support.processes import clean_environment, worker_environment, worker_processes
from tests.support.runs import checkpoint, start, until
from tests.support.soaking import soak

SIZE = 2 * MB
_IMPORT = """
import os, sys
from refold.cli.events import app
from tests.support.memory import peak
app(sys.argv[1:], standalone_mode=False)
print(peak(os.getpid()))
"""


# What the worker itself takes is 120 MiB; the rest is for the activities that run at a time.
SHARES = {
    "18 MB": (18 * MB, [documents], 250 * MB),
    "300 MB": (300 * MB, [lengths, documents], 500 * MB),
}


@pytest.mark.parametrize("share", ["18 MB", *soak("300 MB")])
@pytest.mark.timeout(1200)
async def test_the_memory_of_a_worker_is_bounded(
    client: Client, database: Database, tmp_path: Path, share: str
) -> None:
    total, projections, most = SHARES[share]
    part = total // SIZE // 3
    environment = worker_environment(client, database, REFOLD_PROJECTIONS="tests.support.documents")
    for short in ("REFOLD_HEARTBEAT_TIMEOUT_SECONDS", "REFOLD_SEGMENT_SECONDS"):
        del environment[short]
    imported = await import_events(database, tmp_path, part)
    with worker_processes(environment, tmp_path, fresh=True) as processes:
        test = LargeEvents(client, database, projections, processes.start().pid)
        await test.runs("rebuild", "Rebuild")
        await repeat(database, part)
        if share != "18 MB":
            await test.runs("following", "Backfill", criteria="incremental_update")
        await test.follows_live(await repeat(database, part))
        await test.spoil()
        if share != "18 MB":
            await test.runs("plan", "Backfill", dry_run=True)
        await test.differ()
        await test.runs("in place", "Backfill", create_backup=True)
        await test.runs("dead letters", "Backfill", criteria="dead_letters")
        if share != "18 MB":
            await test.runs("snapshot", "Snapshot")
        await test.runs("rollback", "Rollback")
    print(f"{'import':20} {imported / MB:6.0f} MiB")
    assert not {phase: size // MB for phase, size in test.peaks.items() if size > most}
    assert imported < most
    for projection in projections:
        await assert_held_oracle(database, projection)


class LargeEvents:
    """Runs of each read model, and the most memory that the worker takes in each phase."""

    def __init__(
        self, client: Client, database: Database, projections: list[Projection], pid: int
    ) -> None:
        self._client = client
        self._database = database
        self._projections = projections
        self._pid = pid
        self.peaks: dict[str, int] = {}

    @asynccontextmanager
    async def _during(self, phase: str) -> AsyncIterator[None]:
        reset_peak(self._pid)
        yield
        self.peaks[phase] = peak(self._pid)
        print(f"{phase:20} {self.peaks[phase] / MB:6.0f} MiB", flush=True)

    async def runs(self, phase: str, kind: str, **fields: Any) -> None:
        """One run of each read model, at the same time."""
        async with self._during(phase):
            handles = [await self._start(kind, one, **fields) for one in self._projections]
            for handle in handles:
                result = await asyncio.wait_for(handle.result(), 600)
                assert result.status in ("completed", "rolled_back")

    async def _start(self, kind: str, projection: Projection, **fields: Any) -> Any:
        request = {"projection": projection.name, **fields}
        own_id = f"{kind}/{projection.name}/{self._database.url}"
        return await start(self._client, self._database, kind, request, workflow_id=own_id)

    async def follows_live(self, upto: int) -> None:
        """All live until all events are applied."""
        async with AsyncExitStack() as stack, self._during("live"):
            for one in self._projections:
                following = live(self._client, self._database, projection=one.name)
                await stack.enter_async_context(following)

            async def followed() -> bool:
                engine = self._database.engine
                return min([await checkpoint(engine, one) for one in self._projections]) == upto

            await until(followed, 300)

    async def differ(self) -> None:
        """Rebuilds that wait for a person, who asks what they change."""
        async with self._during("diff"):
            for one in self._projections:
                handle = await self._start("Rebuild", one, approval="manual")
                async with asyncio.timeout(300):
                    while (diff := await handle.query("diff")) is None:  # noqa: ASYNC110
                        await asyncio.sleep(0.1)
                assert diff["changed"]
                assert diff["folded_again"]
                await handle.signal("approve", "me")
                assert (await handle.result()).status == "completed"

    async def spoil(self) -> None:
        """Rows that are not what their events say."""
        async with self._database.engine.begin() as connection:
            for one in self._projections:
                changed = "text = text || '!'" if "text" in one.table.c else "size = size + 1"
                await connection.execute(text(f"UPDATE {one.table.name} SET {changed}"))


async def import_events(database: Database, directory: Path, count: int) -> int:
    """Imports events in a process of its own; returns the most memory that it took."""
    file = directory / "events.ndjson"
    with file.open("wb") as opened:
        opened.writelines(lines(count, SIZE))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _IMPORT, "import", str(file)),
        env=clean_environment(REFOLD_DATABASE_URL=database.url),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == os.EX_OK
    return int(output.split()[-1])


async def repeat(database: Database, count: int) -> int:
    """Appends the first events again, each in its stream; returns the position of the last."""
    async with database.engine.begin() as connection:
        await connection.execute(
            text(
                "INSERT INTO refold.events (stream_id, version, type, data) "
                "SELECT stream_id, (SELECT max(version) FROM refold.events) + 1, type, data "
                "FROM refold.events WHERE position <= :count ORDER BY position"
            ),
            {"count": count},
        )
        highest = await connection.scalar(text("SELECT max(position) FROM refold.events"))
    assert highest is not None
    return int(highest)
