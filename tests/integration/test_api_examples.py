"""The examples of the reference on real servers: one after another, as they stand in their files.

What they presuppose holds before each: a read model that is built, was replaced before, has a
snapshot, and whose projection has no run.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from examples.api import keeping, managing, mirroring, serving
from projections.order_summary import order_summary
from refold import ProjectionManager
from refold.projection.registry import Registry
from refold.stack.postgres import EmbeddedPostgres
from refold.store.deployments import queue_of
from refold.worker.chores.presence import Presence
from tests.support.databases import Database, drop_database, make_database
from tests.support.live import ended_after
from tests.support.runs import assert_oracle, queue, run, until, working, write

IDS = [f"{kind}/order-summary" for kind in ("backfill", "rebuild", "rollback", "snapshot", "plan")]
LIVE = "projection/order-summary"

Example = Callable[..., Any]


def of(module: ModuleType) -> list[Example]:
    """Its examples, in the order in which they stand there."""
    found = [
        function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    ]
    return sorted(found, key=lambda function: function.__code__.co_firstlineno)


@pytest.fixture(scope="module")
def client(temporal: Any) -> Client:
    found: Client = temporal.client
    return found


@pytest.fixture(scope="module")
async def shop(template: EmbeddedPostgres, client: Client) -> AsyncIterator[Database]:
    database = await make_database(template)
    line = {"sku": "tea", "quantity": 2, "unit_price": "4.50"}
    orders = [
        event
        for number in range(10)
        for event in (
            (f"order-{number}", "OrderPlaced", {}),
            (f"order-{number}", "ItemAdded", line),
            (f"order-{number}", "ItemAdded", {**line, "sku": "jam"}),
        )
    ]
    await write(database.engine, orders)
    registry = Registry([order_summary])
    place = queue_of(client.namespace, queue(database))
    await Presence(database.engine, registry, place).run_once()
    async with ended_after(client, *IDS, LIVE), working(client, database, registry):
        await run(client, database, "Rebuild", "order-summary")
        await run(client, database, "Rebuild", "order-summary")
        await run(client, database, "Snapshot", "order-summary")
        yield database
    await drop_database(template, database)


@pytest.fixture(scope="module")
async def shop_manager(client: Client, shop: Database) -> AsyncIterator[ProjectionManager]:
    async with ProjectionManager(client, shop.url, task_queue=queue(shop)) as found:
        yield found


async def idle(database: Database) -> None:
    """What was asked for by event, or goes on after its example, has ended."""

    async def ended() -> bool:
        async with database.engine.connect() as connection:
            leases = await connection.scalar(text("SELECT count(*) FROM refold.leases"))
            return not leases

    await until(ended)


@pytest.mark.parametrize(
    "example", [*of(managing), *of(keeping)], ids=lambda example: example.__name__
)
async def test_the_example_does_what_it_says(
    client: Client,
    shop: Database,
    shop_manager: ProjectionManager,
    example: Example,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if example is managing.projection_manager:
        await example(client, shop.url)
        return
    await example(shop_manager)
    await idle(shop)
    if example is managing.require_known:
        assert "expected one of (order-summary), got 'order-sumary'" in capsys.readouterr().out
    if example is managing.rollback_projection:
        assert "rolled_back" in capsys.readouterr().out
    if example is managing.reject:
        assert "rejected: wrong totals" in capsys.readouterr().out
    await assert_oracle(shop.engine, order_summary)


async def test_a_mirror_is_steered_as_it_is_told(
    client: Client, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    mirrors = ["examples.api.mirroring:ledger"]

    async def says(expected: str) -> None:
        async def told() -> bool:
            await mirroring.get_mirrors(manager)
            return expected in capsys.readouterr().out

        await until(told)

    async with (
        ProjectionManager(client, database.url, task_queue=queue(database)) as manager,
        working(client, database, Registry([order_summary]), mirrors=mirrors),
        ended_after(client, "mirror/ledger"),
    ):
        await mirroring.start_mirror(manager)
        await says("ledger live 3")
        await mirroring.set_mirror_limits(manager)
        await mirroring.pause_mirror(manager)
        await says("ledger paused 3 it is paused")
        await mirroring.resume_mirror(manager)
        await says("ledger live 3")
        await mirroring.cancel_mirror(manager)
        await says("ledger cancelled 3")
    assert mirroring.mirror_source() is mirroring.ledger


def test_event_sources_are_made() -> None:
    assert repr(serving.event_source()) == "EventSource(app_events)"
    assert serving.locks().sequences == ("shop.event_numbers",)
    assert serving.in_order()
    assert serving.patience().again_seconds == 604_800
    assert "HighWaterMark" in str(serving.marked().mark.compile().params)


async def test_events_are_written_and_a_worker_of_their_own_serves(
    client: Client, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    await serving.append_events(database.engine)
    assert not capsys.readouterr().out
    await serving.append_events(database.engine)
    assert "expected version 0" in capsys.readouterr().out.lower()
    await serving.refold_plugin(client, database.url)
    assert "at work" in capsys.readouterr().out
