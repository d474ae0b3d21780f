"""Every criterion and every control, with Temporal's own command line alone."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from sqlalchemy import insert, text
from temporalio.client import Client

from refold import Projection
from refold.store.schema import events
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.processes import clean_environment
from tests.support.runs import NOON, assert_oracle, queue, rows_of, until, working
from tests.support.soaking import soak

TEMPORAL = which("temporal", path=str(Path(sys.executable).parent)) or "temporal"


class Shell:
    """Runs `temporal`, and nothing else, against a test's server and task queue."""

    def __init__(self, client: Client, database: Database) -> None:
        address = client.service_client.config.target_host
        self._environment = clean_environment(TEMPORAL_ADDRESS=address)
        self.queue = queue(database)
        self._number = 0

    async def __call__(self, *words: str, expect: int = 0) -> str:
        """What a command prints; its exit status must be as expected."""
        process = await asyncio.create_subprocess_exec(
            TEMPORAL,
            *words,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == expect, (words, out.decode(), err.decode())
        return (out + err).decode()

    async def start(self, kind: str, **fields: Any) -> str:
        """Starts a workflow; returns its id."""
        self._number += 1
        workflow_id = f"{self.queue}/{self._number}"
        given = json.dumps({"projection": "counters", **fields})
        await self(
            *("workflow", "start", "--type", kind, "-t", self.queue, "-w", workflow_id),
            *("--input", given),
        )
        return workflow_id

    async def execute(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Starts a workflow, and waits for its end."""
        self._number += 1
        given = json.dumps({"projection": "counters", **fields})
        out = await self(
            *("workflow", "execute", "--type", kind, "-t", self.queue, "--output", "json"),
            *("-w", f"{self.queue}/{self._number}", "--input", given),
        )
        found: dict[str, Any] = json.loads(out)["result"]
        return found

    async def result(self, workflow_id: str) -> dict[str, Any]:
        """Waits for a workflow's end."""
        out = await self("workflow", "result", "-w", workflow_id, "--output", "json")
        found: dict[str, Any] = json.loads(out)["result"]
        return found

    async def query(self, workflow_id: str, name: str) -> Any:
        """A query's answer."""
        out = await self(
            *("workflow", "query", "-w", workflow_id, "--type", name, "--output", "json")
        )
        return json.loads(out)["queryResult"][0]

    async def signal(self, workflow_id: str, name: str) -> None:
        """Sends a signal."""
        await self("workflow", "signal", "-w", workflow_id, "--name", name)

    async def until_query(self, workflow_id: str, name: str, expected: Any) -> None:
        """Waits for an answer."""

        async def is_so() -> bool:
            return bool(await self.query(workflow_id, name) == expected)

        await until(is_so, 30)


@pytest.fixture
def temporal_cli(client: Client, database: Database) -> Shell:
    return Shell(client, database)


async def log(database: Database, count: int, kind: str = "Added", key: str | None = None) -> None:
    """Appends events of ten keys, a minute apart from noon on, by two tenants."""
    async with database.engine.begin() as connection:
        last = await connection.scalar(text("SELECT coalesce(max(position), 0) FROM refold.events"))
        rows = [
            {
                "stream_id": f"s{last + n}",
                "version": 1,
                "type": kind,
                "data": {"key": key or f"k{n % 10}", "n": n},
                "metadata": {"tenant": "even" if n % 2 == 0 else "odd"},
                "recorded_at": NOON.replace(minute=n % 60),
            }
            for n in range(count)
        ]
        await connection.execute(insert(events), rows)


async def spoil(database: Database) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE counters SET count = -1"))


async def healed(database: Database, projection: Projection) -> set[str]:
    found = await rows_of(database.engine, projection)
    return {key for key, row in found.items() if row["count"] > 0}


@pytest.mark.parametrize("every", [3, *soak(1)])
async def test_each_criterion(
    temporal_cli: Shell, client: Client, database: Database, every: int
) -> None:
    everything = {f"k{n}" for n in range(10)}
    cases: list[tuple[dict[str, Any], set[str]]] = [
        (
            {
                "criteria": "date_range",
                "from_date": "2026-01-01T13:04:00+01:00",
                "to_date": "2026-01-01T12:06:00Z",
            },
            {"k4", "k5"},
        ),
        ({"criteria": "from_date", "from_date": "2026-01-01T12:39:00Z"}, {"k9"}),
        ({"criteria": "last_n_days", "last_n": 100_000}, everything),
        (
            {"criteria": "event_number_range", "from_position": 2, "to_position": 3},
            {"k1", "k2"},
        ),
        ({"criteria": "from_event_number", "from_position": 39}, {"k8", "k9"}),
        ({"criteria": "last_n_events", "last_n": 1}, {"k9"}),
        ({"criteria": "custom_predicate", "predicate": 'event.data.key == "k7"'}, {"k7"}),
        ({"tenant": "odd"}, {f"k{n}" for n in range(1, 10, 2)}),
        ({"criteria": "full_rebuild"}, everything),
    ]
    await log(database, 40)
    projection = counters(partitions=2, batch_size=15)
    async with working(client, database, registry_of(projection), tenant_path="metadata.tenant"):
        await temporal_cli.execute("Backfill")
        for number, (asked, keys) in enumerate([*cases[:-1:every], cases[-1]]):
            await spoil(database)
            aside = {"is_atomic": True} if number % 2 else {}
            plan = (await temporal_cli.execute("Backfill", **asked, **aside, dry_run=True))["plan"]
            assert plan["selected_keys"] in (None, len(keys))
            assert plan["foretold"]["changed"] == len(keys)
            assert await healed(database, projection) == set()
            done = await temporal_cli.execute("Backfill", **asked, **aside)
            assert done["status"] == "completed"
            assert await healed(database, projection) == keys, asked
        await log(database, 5)
        done = await temporal_cli.execute("Backfill", criteria="incremental_update")
        assert done["events_processed"] == 5
        await assert_oracle(database.engine, projection)


async def test_a_run_is_steered(temporal_cli: Shell, client: Client, database: Database) -> None:
    await log(database, 400)
    async with working(client, database, registry_of(counters(partitions=2, batch_size=5))):
        run = await temporal_cli.start("Rebuild", events_per_second=20)
        await temporal_cli.until_query(run, "status", "running")
        await temporal_cli.signal(run, "pause")
        await temporal_cli.until_query(run, "status", "paused")
        limits = {"batch_size": 50, "max_concurrency": 1, "events_per_second": 1}
        update = ("workflow", "update", "execute", "-w", run, "--name", "set_limits", "--input")
        await temporal_cli(*update, json.dumps(limits))
        assert (await temporal_cli.query(run, "progress"))["limits"] == limits
        refused = await temporal_cli(*update, '{"batch_size": "many"}', expect=1)
        assert "batch_size: Input should be a valid integer" in refused
        await temporal_cli.signal(run, "resume")
        await temporal_cli.until_query(run, "status", "running")
        await temporal_cli.signal(run, "cancel")
        assert (await temporal_cli.result(run))["status"] == "cancelled"


async def test_a_run_holds_back(temporal_cli: Shell, client: Client, database: Database) -> None:
    await log(database, 40)
    async with database.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE hold AS SELECT 1 AS one"))
    async with working(client, database, registry_of(counters())):
        hold = {"hold_while": "EXISTS (SELECT FROM hold)", "check_seconds": 0.2}
        run = await temporal_cli.start("Rebuild", throttle=hold, target_batch_seconds=0.05)

        async def says_why() -> bool:
            shown = await temporal_cli.query(run, "progress")
            return any("hold_while is true" in why for why in shown["waiting_for"] or [])

        await until(says_why, 30)
        async with database.engine.begin() as connection:
            await connection.execute(text("DELETE FROM hold"))
        assert (await temporal_cli.result(run))["status"] == "completed"


async def test_poison_events(temporal_cli: Shell, client: Client, database: Database) -> None:
    await log(database, 40)
    await log(database, 1, "Broken", "k3")
    await log(database, 1, "Broken", "k5")
    await log(database, 10)
    broken = counters(batch_size=7)
    async with working(client, database, registry_of(broken)):
        run = await temporal_cli.start("Rebuild", on_poison="set_aside", max_dead_letters=2)
        assert (await temporal_cli.result(run))["dead_letters"] == 2
        assert (await temporal_cli.query(run, "progress"))["dead_letters"] == 2
        few = await temporal_cli.start("Rebuild", on_poison="set_aside", max_dead_letters=1)
        await temporal_cli("workflow", "result", "-w", few, expect=1)
        skip = await temporal_cli.execute("Backfill", criteria="dead_letters", skip_events=[41])
        assert skip["dead_letters"] == 1
        found = await rows_of(database.engine, broken)
        assert {key: row["count"] for key, row in found.items() if row["count"] != 5} == {"k5": 4}
    mended = counters(batch_size=7)
    mended.handlers["Broken"] = lambda row, event: row
    async with working(client, database, registry_of(mended)):
        retry = await temporal_cli.execute("Backfill", criteria="dead_letters")
        assert retry["dead_letters"] == 0
        await assert_oracle(database.engine, mended)


async def test_a_schedule(temporal_cli: Shell, client: Client, database: Database) -> None:
    await log(database, 40)
    async with working(client, database, registry_of(counters())):
        await temporal_cli.execute("Backfill")
        await spoil(database)
        schedule = ("--schedule-id", f"schedule/{temporal_cli.queue}")
        request = {"projection": "counters", "criteria": "last_n_days", "last_n": 100_000}
        await temporal_cli(
            *("schedule", "create", *schedule, "--cron", "0 3 1 1 *", "--overlap-policy", "Skip"),
            *("--type", "Backfill", "-t", temporal_cli.queue, "-w", f"{temporal_cli.queue}/by"),
            *("--input", json.dumps(request)),
        )
        await temporal_cli("schedule", "trigger", *schedule)

        async def is_healed() -> bool:
            return len(await healed(database, counters())) == 10

        await until(is_healed, 30)
        assert f"schedule/{temporal_cli.queue}" in await temporal_cli("schedule", "list")
        await temporal_cli("schedule", "delete", *schedule)
