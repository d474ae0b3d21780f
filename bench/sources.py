"""Rebuild from other tables of events against Refold's own: the same events, the same rows.

make sources               300,000 events, each source three times, in turn
python -m bench.sources --events 100000 --runs 1
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from bench.rebuild import rebuild, seed, vacuum
from refold import EventSource, ProjectionManager, RefoldPlugin, stores
from refold.cli.stack import migrate_url
from refold.projection.registry import load_registry
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.source.port.current import OWN, using
from refold.stack.stack import Stack

# What each costs at most, relative to Refold's own table.
_AIMS = {"jsonb": 1.5, "text": 2.5, "bytea and a join": 2.5}
_SOURCES: dict[str, Callable[[], EventSource]] = {
    "jsonb": stores.message_db,
    "text": lambda: stores.table(
        "texts", stream_id="stream", data=("body", "text"), metadata=("about", "text")
    ),
    "bytea and a join": lambda: stores.commanded(schema="shop", type_prefix="Elixir.Shop."),
}
_TABLES = """
CREATE SCHEMA message_store; CREATE SCHEMA shop;
CREATE TABLE message_store.messages AS SELECT position AS global_position,
    version::bigint - 1 AS position, recorded_at AT TIME ZONE 'UTC' AS time,
    stream_id AS stream_name, type, data, metadata FROM refold.events;
ALTER TABLE message_store.messages ADD PRIMARY KEY (global_position);
CREATE UNIQUE INDEX ON message_store.messages (stream_name, position);
CREATE TABLE texts AS SELECT position AS id, stream_id AS stream, type, data::text AS body,
    metadata::text AS about, recorded_at AS created_at FROM refold.events;
ALTER TABLE texts ADD PRIMARY KEY (id);
CREATE TABLE shop.streams AS SELECT row_number() OVER () AS stream_id, stream_id AS stream_uuid
    FROM (SELECT DISTINCT stream_id FROM refold.events) s;
ALTER TABLE shop.streams ADD PRIMARY KEY (stream_id);
CREATE TABLE shop.events AS SELECT gen_random_uuid() AS event_id, 'Elixir.Shop.' || type AS
    event_type, NULL::uuid AS causation_id, NULL::uuid AS correlation_id,
    convert_to(data::text, 'UTF8') AS data, convert_to(metadata::text, 'UTF8') AS metadata,
    recorded_at AS created_at, position, stream_id, version FROM refold.events;
ALTER TABLE shop.events ADD PRIMARY KEY (event_id);
CREATE TABLE shop.stream_events AS SELECT e.event_id, l.stream_id, CASE l.stream_id WHEN 0 THEN
    e.position ELSE e.version END AS stream_version, s.stream_id AS original_stream_id,
    e.version::bigint AS original_stream_version FROM shop.events e
    JOIN shop.streams s ON s.stream_uuid = e.stream_id,
    LATERAL (VALUES (0::bigint), (s.stream_id)) AS l (stream_id);
ALTER TABLE shop.stream_events ADD PRIMARY KEY (event_id, stream_id);
CREATE UNIQUE INDEX ON shop.stream_events (stream_id, stream_version)
"""
_DIFFERENT = """
SELECT (SELECT count(*) FROM (TABLE own EXCEPT TABLE order_summary) AS a)
     + (SELECT count(*) FROM (TABLE order_summary EXCEPT TABLE own) AS b)
"""


async def prepare(engine: AsyncEngine, events: int) -> None:
    await seed(engine, events)
    async with engine.begin() as connection:
        for statement in _TABLES.split(";"):
            await connection.execute(text(statement))
    for table in ("message_store.messages", "texts", "shop.events", "shop.stream_events"):
        await vacuum(engine, table)
    await vacuum(engine, "shop.streams")


async def timed(client: Client, engine: AsyncEngine, url: str, source: EventSource) -> float:
    """Seconds for a rebuild by a worker in this process."""
    registry = load_registry(["projections"])
    settings = Settings(database_url=url, task_queue="sources")
    plugin = RefoldPlugin(settings=settings, registry=registry, engine=engine, chores=False)
    with using(source):
        async with Worker(client, task_queue="sources", plugins=[plugin]):
            return await rebuild(ProjectionManager(client, url, task_queue="sources"))


async def measure(stack: Stack, events: int, runs: int) -> None:
    url = stack.database_url
    engine = make_engine(Settings(database_url=url), activities=8)
    try:
        print(f"seeding {events:,} events in four shapes …", flush=True)
        await prepare(engine, events)
        client = await Client.connect(
            stack.temporal_address, data_converter=pydantic_data_converter
        )
        own = await timed(client, engine, url, OWN)
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE own AS TABLE order_summary"))
        seconds: dict[str, list[float]] = {name: [] for name in ("own", *_SOURCES)}
        for run in range(1, runs + 1):
            seconds["own"].append(await timed(client, engine, url, OWN))
            for name, made in _SOURCES.items():
                seconds[name].append(await timed(client, engine, url, made()))
                async with engine.connect() as connection:
                    different = await connection.scalar(text(_DIFFERENT))
                print(f"run {run}: {name}: {seconds[name][-1]:.2f} s, {different} rows differ")
        own = statistics.median(seconds["own"])
        print(f"Refold's own table: {own:.2f} s, {events / own:,.0f} events/s")
        for name, aim in _AIMS.items():
            ratio = statistics.median(seconds[name]) / own
            print(f"{name}: {ratio:.2f} times as long (aim: at most {aim})")
    finally:
        await engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="refold-bench-") as directory,
        Stack(Path(directory), workers=0, migrate=migrate_url) as stack,
    ):
        asyncio.run(measure(stack, arguments.events, arguments.runs))


if __name__ == "__main__":
    main()
