"""`refold worker --processes 2`: one process after another is killed while a rebuild is on."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.support.counting import counted_events, counting
from tests.support.databases import Database
from tests.support.forked import ForkedProcess, refold
from tests.support.processes import ROOT, worker_environment
from tests.support.runs import assert_oracle, leftovers, start, until, write
from tests.support.soaking import mostly_soak
from tests.support.watching import batches, undone, until_batches

KEYS = {1: 150, 6: 3200}


@pytest.mark.parametrize("kills", mostly_soak(1, 6, suite=1))
async def test_rows_are_right_though_processes_are_killed(
    client: Client, database: Database, tmp_path: Path, kills: int
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    # Another process is waited for after each kill: meanwhile the run must not end.
    keys, rate = KEYS[kills], 0 if kills == 1 else 1500
    await write(database.engine, counted_events(keys))
    log = tmp_path / "log"
    log.touch()
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.counting",
        COUNT_FILE=str(tmp_path / "folds"),
        # On a busy machine, a worker that is alive is silent for a second now and then.
        REFOLD_HEARTBEAT_TIMEOUT_SECONDS="3",
        REFOLD_SEGMENT_SECONDS="0.3",
    )
    process = ForkedProcess(
        refold,
        ("worker", "--processes", "2"),
        directory=ROOT,
        environment=environment,
        output=(log, log),
    )
    pids: list[int] = []
    try:
        await until(lambda: _ready(log, 2), 60)
        run = await start(
            client, database, "Rebuild", {"projection": "counting", "events_per_second": rate}
        )
        seen = 0
        for number in range(kills):
            seen = await until_batches(database, seen + chance.randint(1, 3))
            assert await undone(database.engine) > 0, "the run was over before the kill"
            os.kill(_pids(log)[1 + number % 2][-1], signal.SIGKILL)
            seen = await batches(database.engine)
            if kills > 1:
                await until(lambda due=2 + number + 1: _ready(log, due), 60)  # type: ignore[misc]
        result = await asyncio.wait_for(run.result(), 150)
        assert result.status == "completed"
        assert len(await assert_oracle(database.engine, counting)) == keys
        assert await leftovers(database.engine) == []
        await until(lambda: _ready(log, 2 + kills), 60)
        pids = [pid for of_number in _pids(log).values() for pid in of_number]
        process.send(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 40) == 0, log.read_text()
    finally:
        process.send(signal.SIGKILL)
        process.wait(10)
    said = log.read_text()
    assert said.count("ended with signal SIGKILL") == kills
    assert "Traceback" not in said
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            pytest.fail(f"process {pid} is there still")


async def _ready(log: Path, count: int) -> bool:
    return (await asyncio.to_thread(log.read_text)).count("working on task queue") >= count


def _pids(log: Path) -> dict[int, list[int]]:
    """The processes that have had each number, in order."""
    found: dict[int, list[int]] = {1: [], 2: []}
    for number, pid in re.findall(r"worker process (\d): pid (\d+)", log.read_text()):
        found[int(number)].append(int(pid))
    return found
