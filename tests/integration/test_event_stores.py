"""Known event stores, each over its own tables: rebuild, live following and a repair are right."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.client import Client

from refold import ConfigurationError, stores
from refold.projection.registry import Registry
from refold.source.port.current import using
from refold.source.reader import read_window
from tests.support.databases import Database
from tests.support.live import live
from tests.support.mapped import Shape, log_of, registry
from tests.support.runs import checkpoint, run, until, working
from tests.support.store_shapes import COMPRESSED, EMMETT, EVENTSOURCING, MARTEN, MESSAGE_DB, SHAPES

# In the suite their own libraries append, in test_real_stores.py; Marten's tables have the events
# of a real shop, in test_real_events_in_stores.py.
_SHOWN_ELSEWHERE = (MESSAGE_DB, EMMETT, EVENTSOURCING, COMPRESSED, MARTEN)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(
            shape,
            id=shape.name,
            marks=pytest.mark.soak if shape in _SHOWN_ELSEWHERE else (),
        )
        for shape in SHAPES
    ],
)
async def test_what_is_built_followed_and_repaired_is_the_fold(
    client: Client, database: Database, shape: Shape
) -> None:
    async with log_of(shape, database) as log:
        with using(shape.source()) as source:
            assert source.sees_data == shape.sees_data
            name = "paths" if shape.sees_data else "texts"
            projection = registry().get(name)
            await log.append(60)

            async def reached() -> bool:
                return await checkpoint(database.engine, projection) == log.events[-1].position

            async with working(client, database, Registry([projection])):
                await run(client, database, "Rebuild", name)
                assert await log.different(projection) == {}
                await log.execute(f"UPDATE {name} SET sum = sum + 1000")
                fields: dict[str, Any] = {"from_date": log.events[0].recorded_at.isoformat()}
                if not source.has_times:
                    fields = {"from_position": 0}
                await run(client, database, "Backfill", name, **fields)
                assert await log.different(projection) == {}
                async with live(client, database, projection=name):
                    await log.append(20)
                    await until(reached)
                    assert await log.different(projection) == {}
            # All fields of all events, as the application has them.
            async with database.engine.connect() as connection:
                read = await read_window(
                    connection,
                    types=["Added", "Removed", "Noted"],
                    after=source.before,
                    upto=2**62,
                    limit=1000,
                )
            assert read == log.events


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (stores.akka_r2dbc, "it has no position"),
        (stores.sequent, "all of its events share"),
        (stores.cqrs_es, "within each aggregate only"),
        (stores.debezium_outbox, "random uuids"),
    ],
)
def test_a_store_without_an_order_is_refused_with_a_way_out(refused: object, why: str) -> None:
    assert callable(refused)
    with pytest.raises(ConfigurationError, match=f"cannot be followed in place.*{why}.*ADD COLUMN"):
        refused()
