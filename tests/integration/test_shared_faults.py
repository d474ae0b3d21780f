"""The small inputs of the shared data that once went wrong, as they stand there."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold import Projection
from refold.source.files.importer import import_events
from tests.conftest import FAULTS
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.live import live, until_status
from tests.support.many import run_all
from tests.support.runs import assert_oracle, leftovers, rows_of, start, until, working

pytestmark = pytest.mark.skipif(not FAULTS.exists(), reason="the shared data is not here")

INCREMENTAL = {"criteria": "incremental_update"}

LONG = 1_500
"""How many events the long key has: five seconds of them at the rate at which they are taken."""


def projections_of(module: str) -> dict[str, Projection]:
    """What a module there declares, by name; `projections` on the path is the project's own."""
    path = FAULTS / "projections" / f"{module}.py"
    spec = importlib.util.spec_from_file_location(f"shared_{module}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return {one.name: one for one in vars(loaded).values() if isinstance(one, Projection)}


async def imported(database: Database, *names: str) -> None:
    for name in names:
        await import_events(database.engine, FAULTS / "events" / f"{name}.ndjson")


async def followed(client: Client, database: Database, *names: str) -> None:
    await run_all(client, database, "Backfill", names, **INCREMENTAL)


async def column(database: Database, projection: Projection, name: str) -> dict[Any, Any]:
    return {key: row[name] for key, row in (await rows_of(database.engine, projection)).items()}


async def assert_oracles(database: Database, projections: dict[str, Projection]) -> None:
    for one in projections.values():
        await assert_oracle(database.engine, one)
    assert await leftovers(database.engine) == []


async def test_p01_a_unique_value_is_handed_over(client: Client, database: Database) -> None:
    projections = projections_of("p01_unique")
    async with working(client, database, registry_of(*projections.values())):
        await imported(database, "p01_0")
        await run_all(client, database, "Rebuild", projections)
        await imported(database, "p01_1")
        await followed(client, database, *projections)
        for one in projections.values():
            names = await column(database, one, "username")
            assert names == {"a": "ann2", "b": "ann", "c": "cat"}
        await imported(database, "p01_2")
        await followed(client, database, *projections)
        for one in projections.values():
            names = await column(database, one, "username")
            assert names == {"a": "ann2", "b": "ann", "d": "cat"}
    await assert_oracles(database, projections)


async def test_p04_read_models_refer_to_each_other(client: Client, database: Database) -> None:
    projections = projections_of("p04_fk")
    async with working(client, database, registry_of(*projections.values())):
        await imported(database, "p04_0")
        for name in ("p04-customers", "p04-orders"):
            await run_all(client, database, "Rebuild", [name])
        await imported(database, "p04_1")
        for name in ("p04-customers", "p04-orders"):
            await followed(client, database, name)
    await assert_oracles(database, projections)
    assert len(await rows_of(database.engine, projections["p04-orders"])) == 10
    async with database.engine.connect() as connection:
        refers = text(
            "SELECT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
            " AND conrelid = 'public.p04_orders'::regclass AND convalidated"
        )
        assert (await connection.scalars(refers)).all() == ["p04_customers"]


async def test_p16_enumerations(client: Client, database: Database) -> None:
    projections = projections_of("p16_enum")
    async with working(client, database, registry_of(*projections.values())):
        await imported(database, "p16_0")
        await run_all(client, database, "Rebuild", projections)
        for name in ("p16_3", "p16_4"):
            await imported(database, name)
            await followed(client, database, *projections)
        before = {name: await rows_of(database.engine, one) for name, one in projections.items()}
        await run_all(client, database, "Rebuild", projections)
    await assert_oracles(database, projections)
    for name, one in projections.items():
        assert await rows_of(database.engine, one) == before[name]
        assert before[name]["e1"]["reopened"] == 1


async def test_p20_keys_of_all_kinds(client: Client, database: Database) -> None:
    projections = projections_of("p20_keys")
    async with working(client, database, registry_of(*projections.values())):
        await imported(database, "p20_0")
        await run_all(client, database, "Rebuild", projections)
        await assert_oracles(database, projections)
        async with live(client, database, projection="p20-keys") as handle:
            await imported(database, "p20_2")
            await until_status(handle, "failed")
            error = (await handle.query("health"))["error"]
            assert (error["type"], error["stream_id"]) == ("PoisonEvent", "long")
            assert "PostgreSQL refuses its row" in error["message"]


async def test_p27_the_end_of_the_calendar(client: Client, database: Database) -> None:
    projections = projections_of("p27_forever")
    async with working(client, database, registry_of(*projections.values())):
        await imported(database, "p27_0")
        await run_all(client, database, "Rebuild", projections)
        await imported(database, "p27_1")
        await followed(client, database, *projections)
    await assert_oracles(database, projections)
    (prices,) = projections.values()
    assert (await rows_of(database.engine, prices))["a"] | {"until": None} == {
        "sku": "a",
        "valid_to": date(9999, 12, 31),
        "until": None,
        "changes": 1,
        "open": 1,
    }
    async with database.engine.connect() as connection:
        found = text("SELECT sku FROM p27_prices WHERE valid_to = '9999-12-31'")
        assert (await connection.scalars(found)).all() == ["a"]


async def test_p28_paused_within_a_key(client: Client, database: Database, tmp_path: Path) -> None:
    projections = projections_of("p28_long_key")
    rate = "0.12345678901234567891"
    lines = [
        {"stream_id": "one", "type": "p28.Hit", "data": {"k": "one", "i": i, "rate": rate}}
        for i in range(LONG)
    ]
    file = tmp_path / "p28.ndjson"
    file.write_text("\n".join(map(json.dumps, lines)))
    await import_events(database.engine, file)
    fields = {"batch_size": 100, "events_per_second": 300}
    async with working(client, database, registry_of(*projections.values())):
        handles = [
            await start(
                client, database, "Rebuild", {"projection": name, **fields}, workflow_id=name
            )
            for name in projections
        ]
        for handle in handles:

            async def is_within(handle: Any = handle) -> bool:
                return bool(0 < (await handle.query("progress"))["events_processed"] < LONG)

            await until(is_within)
            await handle.signal("pause")
        for handle in handles:
            await until_status(handle, "paused")
            assert 0 < (await handle.query("progress"))["events_processed"] < LONG
        for handle in handles:
            await handle.execute_update("set_limits", {"events_per_second": 0})
            await handle.signal("resume")
        await asyncio.gather(*[asyncio.wait_for(handle.result(), 60) for handle in handles])
    await assert_oracles(database, projections)
    rows = {name: (await rows_of(database.engine, one))["one"] for name, one in projections.items()}
    assert {row["n"] for row in rows.values()} == {LONG}
    assert rows["p28-r"]["r"] == LONG - 1
    assert rows["p28-array"]["rates"] == [Decimal(rate)] * 3
    assert rows["p28-plain"]["rate"] == Decimal(rate)
