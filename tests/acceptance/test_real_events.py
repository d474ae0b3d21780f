"""Three months of a real shop on `refold dev`, worked with Temporal's own command line."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.projection.registry import Registry
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from tests.acceptance.stack import DevStack
from tests.support.runs import assert_oracle, rows_of
from tests.support.soaking import mostly_soak

NAMES = ["order-summary", "customer-summary", "product-sales"]


@pytest.fixture
async def engine(dev: DevStack) -> AsyncIterator[AsyncEngine]:
    made = make_engine(Settings(database_url=dev.database_url))
    yield made
    await made.dispose()


@pytest.fixture
async def reading(dev: DevStack) -> AsyncIterator[AsyncEngine]:
    """Somebody who only reads read models; across swaps, too."""
    made = make_engine(Settings(database_url=dev.reader_url))
    yield made
    await made.dispose()


async def fetch(engine: AsyncEngine, statement: str) -> tuple[object, ...]:
    async with engine.connect() as connection:
        return tuple((await connection.execute(text(statement))).one())


async def test_all_events_are_imported(
    dev: DevStack, all_shop_events: int, engine: AsyncEngine
) -> None:
    assert all_shop_events == 110_229
    counted = dev.refold("events", "count", "--json")
    assert (counted.status, counted.json()) == (0, {"events": 110_229})
    types = text("SELECT type, count(*) FROM refold.events GROUP BY type")
    async with engine.connect() as connection:
        assert {row[0]: row[1] for row in await connection.execute(types)} == {
            "OrderPlaced": 4_089,
            "ItemAdded": 103_217,
            "CreditNoteIssued": 805,
            "ItemReturned": 1_904,
            "StockAdjusted": 214,
        }


@pytest.mark.usefixtures("all_shop_events")
@pytest.mark.parametrize("name", mostly_soak(*NAMES, suite=1))
async def test_rebuild_by_temporals_command_line(
    dev: DevStack,
    engine: AsyncEngine,
    reading: AsyncEngine,
    shop: Registry,
    name: str,
) -> None:
    workflow_id = f"rebuild/{name}"
    started = dev.start("Rebuild", workflow_id, json.dumps({"projection": name}))
    assert started.status == 0, started.err
    ended = dev.result(workflow_id)
    assert ended.status == 0, ended.err
    result = ended.json()["result"]
    assert (result["status"], result["position"]) == ("completed", 110_229)
    rows = await assert_oracle(engine, shop.get(name))
    assert rows
    assert await rows_of(reading, shop.get(name)) == rows
    described = dev.temporal("workflow", "describe", "-w", workflow_id, "--output", "json").json()
    length = int(described["workflowExecutionInfo"]["historyLength"])
    print(f"{name}: {len(rows)} rows, a history of {length} events")
    assert length < 200  # a slow machine tells of progress more often; 110,229 events are not in it
    progress = dev.query(workflow_id, "progress")
    assert (progress["status"], progress["percent_complete"]) == ("completed", 100)
    assert dev.query(workflow_id, "status") == "completed"


async def test_figures_are_those_of_the_shops_books(
    dev: DevStack, all_shop_events: int, reading: AsyncEngine
) -> None:
    for name in ("order-summary", "customer-summary"):
        (status,) = dev.refold("status", name, "--json").json()
        if status["position"] != all_shop_events:  # else a test before has built it
            rebuilt = dev.refold("rebuild", name)
            assert rebuilt.status == 0, rebuilt.err
    totals = await fetch(reading, "SELECT sum(total), sum(returned) FROM order_summary")
    assert totals == (Decimal("2038742.59"), Decimal("231722.66"))
    customers = "SELECT count(*) FROM customer_summary WHERE total_orders >= 1"
    assert await fetch(reading, customers) == (1682,)
    for customer, orders, value in (
        ("12346", 1, "77183.60"),
        ("14646", 10, "57866.02"),
        ("18102", 6, "38370.09"),
    ):
        found = await fetch(
            reading,
            "SELECT total_orders, lifetime_value FROM customer_summary "
            f"WHERE customer_id = '{customer}'",
        )
        assert found == (orders, Decimal(value))


BAD = [
    (['{"projection": "order-sumary"}'], "order-sumary"),
    (['{"projection": 5}'], "projection: Input should be a valid string"),
    (['"order-summary"'], "expected one JSON object"),
    ([], "got no input"),
    (['{"projection": "order-summary"}', '{"batch_size": 5}'], "got 2 arguments"),
    (['{"projection": "order-summary", "batch_size": -1}'], "batch_size"),
    (['{"projection": "order-summary", "batchSize": 1}'], "batchSize: not a field"),
]


def test_bad_input_fails_at_once(dev: DevStack) -> None:
    ids = [f"bad/{expected}" for _, expected in BAD]
    for workflow_id, (inputs, _) in zip(ids, BAD, strict=True):
        assert dev.start("Rebuild", workflow_id, *inputs).status == 0
    for workflow_id, (inputs, expected) in zip(ids, BAD, strict=True):
        ended = dev.result(workflow_id, timeout=15)
        assert ended.status == 1, inputs
        assert expected in ended.out + ended.err
    failed = ("--query", 'WorkflowId STARTS_WITH "bad/" AND ExecutionStatus = "Failed"')
    deadline = time.monotonic() + 30
    while True:  # the list lags a moment behind
        listed = dev.temporal("workflow", "list", *failed, "--output", "json").json()
        if {one["execution"]["workflowId"] for one in listed} == {*ids}:
            break
        assert time.monotonic() < deadline, listed
        time.sleep(0.3)
