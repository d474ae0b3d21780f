"""Events of a real shop in the tables of event stores: every way leads to the oracle's rows."""

from __future__ import annotations

import asyncio
import gzip
import json
import uuid
from collections.abc import Callable
from datetime import datetime
from itertools import islice
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from projections.order_summary import order_summary
from refold import Event
from refold.projection.registry import Registry
from refold.source.port.current import using
from refold.source.settled.locks import written
from tests.conftest import REAL_EVENTS
from tests.support.databases import Database
from tests.support.live import live
from tests.support.mapped import Log, Shape, log_of
from tests.support.runs import checkpoint, start, until, working
from tests.support.store_shapes import MARTEN, SHAPES

ALL = 110_229
SECONDS = 900
"""How long one run may take: all events, on a machine that others use, too."""

AT_ONCE = 1000
"""How many events one transaction appends."""


def shop_events(count: int) -> list[Event]:
    """The first events, with uuids for the names of their streams."""
    if not REAL_EVENTS.exists():
        pytest.skip("the events of the shop are not here")
    with gzip.open(REAL_EVENTS, "rt") as lines:
        read = [json.loads(line) for line in islice(lines, count)]
    assert len(read) == count
    return [
        Event(
            number,
            str(uuid.uuid5(uuid.NAMESPACE_OID, one["stream_id"])),
            one["version"],
            one["type"],
            one["data"],
            one["metadata"],
            datetime.fromisoformat(one["recorded_at"]),
        )
        for number, one in enumerate(read, start=1)
    ]


def _case(shape: Shape, count: int) -> Any:
    return pytest.param(shape, count, id=f"{shape.name}-{count}")


_EVERY = [pytest.param(shape, ALL, id=shape.name, marks=pytest.mark.soak) for shape in SHAPES]


@pytest.mark.timeout(4 * SECONDS)
@pytest.mark.parametrize(("shape", "count"), [_case(MARTEN, 500), *_EVERY])
async def test_every_way_leads_to_the_rows_of_the_oracle(
    client: Client, database: Database, shape: Shape, count: int
) -> None:
    events = shop_events(count)
    later = count // 10
    async with log_of(shape, database) as log:
        with using(shape.source()) as source:
            # The rows that the given tables bring are no events of this shop.
            assert source.sampled_table is not None
            await log.execute(f"TRUNCATE {written(source.sampled_table)} CASCADE")
            await append(log, events[:-later])
            async with working(client, database, Registry([order_summary])):
                await run(client, log, "Rebuild")
                assert await log.different(order_summary) == {}
                async with live(client, database, projection=order_summary.name):
                    await append(log, events[-later:])

                    async def reached() -> bool:
                        position = await checkpoint(database.engine, order_summary)
                        return position == log.events[-1].position

                    await until(reached, SECONDS)
                assert await log.different(order_summary) == {}
                await run(client, log, "Rebuild")
                assert await log.different(order_summary) == {}
                await corrupt(log)
                await run(client, log, "Rollback")
                assert await log.different(order_summary) == {}
                for fields, selects in repairs(log, source.has_times):
                    await corrupt(log)
                    await run(client, log, "Backfill", **fields)
                    repaired = {event.stream_id for event in log.events if selects(event)}
                    read = [e for e in log.events if e.type in order_summary.handlers]
                    others = {event.stream_id for event in read} - repaired
                    assert min(len(repaired), len(others)) > 0
                    assert set(await log.different(order_summary)) == others, fields


def repairs(log: Log, has_times: bool) -> list[tuple[dict[str, Any], Callable[[Event], bool]]]:
    """Requests, and in plain Python which events they select."""
    middle = log.events[len(log.events) // 2]
    last = len(log.events) // 20
    since: dict[str, Any] = {"from_date": middle.recorded_at.isoformat()}
    numbers = {event.position for event in log.events[-last:]}
    predicate = "event.type == 'ItemReturned' && event.data.quantity > 1"
    return [
        (since, lambda event: event.recorded_at >= middle.recorded_at)
        if has_times
        else ({"from_position": middle.position}, lambda e: e.position >= middle.position),
        (
            {"criteria": "custom_predicate", "predicate": predicate},
            lambda event: event.type == "ItemReturned" and event.data["quantity"] > 1,
        ),
        ({"criteria": "last_n_events", "last_n": last}, lambda event: event.position in numbers),
    ]


async def append(log: Log, events: list[Event]) -> None:
    """Appends events, in several transactions."""
    for first in range(0, len(events), AT_ONCE):
        await log.insert(events[first : first + AT_ONCE])


async def run(client: Client, log: Log, kind: str, **fields: Any) -> None:
    """Runs a workflow to its end."""
    request = {"projection": order_summary.name, **fields}
    handle = await start(client, log.database, kind, request)
    await asyncio.wait_for(handle.result(), SECONDS)


async def corrupt(log: Log) -> None:
    """Makes all rows wrong."""
    async with log.database.engine.begin() as connection:
        await connection.execute(text("UPDATE order_summary SET total = total + 1000"))
