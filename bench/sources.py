"""Rebuild from the tables of each event store against Refold's own: the same events and rows.

Beside the time, each store is followed live, repaired by date, by a predicate and by the last
events, and rolled back; rows that differ from those of a plain fold in Python are counted.

make sources               300,000 events of a shop that is made up
python -m bench.sources --file events.ndjson.gz --runs 3 --json sources.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from bench.rebuild import rebuild, seed, vacuum
from bench.store_tables import STORES, StoreTables
from refold import EventSource, Projection, ProjectionManager, RefoldPlugin
from refold.cli.stack import migrate_url
from refold.projection.registry import Registry, load_registry
from refold.runtime.database import make_engine, raw
from refold.runtime.settings import Settings
from refold.source.files.importer import import_events
from refold.source.port.current import OWN, using
from refold.source.reader import read_window
from refold.stack.stack import Stack
from refold.store import generations

# So many of the last events are appended while the read model is live.
_LAST = 500
_NAME = "order-summary"
_EXPECTED = """
CREATE TABLE {name} (order_id text PRIMARY KEY, customer_id text, items int NOT NULL,
    total numeric(14,2) NOT NULL, returned numeric(14,2) NOT NULL, status text NOT NULL)
"""
_DIFFERENT = """
WITH expected AS (SELECT {key} AS order_id, {customer} AS customer_id, items, total, returned,
                  status FROM {name})
SELECT (SELECT count(*) FROM (TABLE expected EXCEPT TABLE order_summary) AS a)
     + (SELECT count(*) FROM (TABLE order_summary EXCEPT TABLE expected) AS b)
"""


@dataclass
class Found:
    """What one store came to.

    Attributes:
        aim: How long a rebuild may take at most, relative to Refold's own table.
        seconds: How long rebuilds took.
        own: How long those of Refold's own table took, each just before.
        differ: The rows that differ from the oracle, after each way to them.
    """

    aim: float
    seconds: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    differ: dict[str, int] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """The median of the rebuilds' ratios."""
        pairs = zip(self.seconds, self.own, strict=True)
        return statistics.median(one / other for one, other in pairs)


class Sources:
    """The bench, on one stack."""

    def __init__(self, engine: AsyncEngine, client: Client, url: str, projection: Projection):
        self._engine = engine
        self._client = client
        self._url = url
        self._projection = projection
        self._manager = ProjectionManager(client, url, task_queue="sources")

    async def expect(self, name: str, upto: int) -> None:
        """Makes a table of the rows that a plain fold gives."""
        async with self._engine.connect() as connection:
            events = await read_window(
                connection, types=self._projection.event_types, after=0, upto=upto, limit=2**31
            )
        rows = self._projection.fold(events)
        columns = self._projection.table.columns.keys()
        async with self._engine.begin() as connection:
            await connection.execute(text(_EXPECTED.format(name=name)))
            driver = await raw(connection)
            records = [tuple(row[column] for column in columns) for row in rows.values()]
            await driver.copy_records_to_table(name, records=records, columns=columns)

    async def set_later_aside(self, after: int) -> None:
        """Takes the last events out of Refold's own table: they are appended to the stores."""
        async with self._engine.begin() as connection:
            those = f"refold.events WHERE position > {after}"
            await connection.execute(text(f"CREATE TABLE later AS SELECT * FROM {those}"))
            await connection.execute(text(f"DELETE FROM {those}"))
        await vacuum(self._engine, "refold.events")

    async def make(self, store: StoreTables) -> None:
        """Makes a store's tables of the events that Refold's own table has."""
        async with self._engine.begin() as connection:
            schema = next(iter(store.tables)).partition(".")[0]
            await connection.execute(text(f"CREATE SCHEMA {schema}"))
            for statement in store.first:
                await connection.execute(text(statement))
            for number, (table, select) in enumerate(store.tables.items()):
                made = f"CREATE TABLE {table} AS {_from(select, 'refold.events')}"
                await connection.execute(text(made.replace(":O", "\\:O")))
                for index in store.indexes if number == 0 else _others(table):
                    unique, _, columns = index.rpartition("UNIQUE ")
                    made = f"CREATE UNIQUE INDEX ON {table} {columns}"
                    await connection.execute(text(f"{unique}{made}"))
        await self._compress(store)
        for table in store.tables:
            await vacuum(self._engine, table)

    async def append(self, store: StoreTables, after: int) -> None:
        """Appends the other events, in one transaction."""
        async with self._engine.begin() as connection:
            for table, select in reversed(store.tables.items()):
                made = f"INSERT INTO {table} {_from(select, 'later')}"
                await connection.execute(text(made.replace(":O", "\\:O")))
            if store.compressed:
                await _deflate(connection, *store.compressed, after=after)

    async def _compress(self, store: StoreTables) -> None:
        if store.compressed:
            async with self._engine.begin() as connection:
                await _deflate(connection, *store.compressed, after=0)

    async def differ(self, store: StoreTables | None, name: str) -> int:
        """How many rows differ from the oracle's."""
        key = "md5(order_id)::uuid::text" if store and store.uuids else "order_id"
        customer = "customer_id" if store is None or store.has_metadata else "NULL::text"
        async with self._engine.connect() as connection:
            statement = _DIFFERENT.format(key=key, customer=customer, name=name)
            return int(await connection.scalar(text(statement)) or 0)

    async def timed(self, source: EventSource) -> float:
        """Seconds for a first build by a worker in this process."""
        async with self._engine.begin() as connection:
            # As if nothing had been built yet: the checkpoint may be beyond what this source has.
            await connection.execute(text("DROP TABLE IF EXISTS order_summary"))
            await connection.execute(text("UPDATE refold.generations SET position = NULL"))
        with using(source):
            async with self._worker():
                return await rebuild(self._manager)

    async def ways(self, store: StoreTables, cut: int, last: int) -> dict[str, int]:
        """The rows that differ after live following, repairs and a rollback."""
        found: dict[str, int] = {}
        with using(store.source()) as source:
            async with self._worker():
                await self._manager.start(_NAME)
                await self.append(store, cut)
                while await self._position() < last:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                await self._manager.stop(_NAME)
                found["live"] = await self.differ(store, "expected")
                repairs: dict[str, dict[str, Any]] = {
                    "from_date": {"from_date": "2000-01-01"},
                    "predicate": {
                        "criteria": "custom_predicate",
                        "predicate": "event.type.startsWith('Item') || event.type != 'None'",
                    },
                    "last_n_events": {"criteria": "last_n_events", "last_n": last},
                }
                if not source.has_times:
                    repairs["from_position"] = {"from_position": 1}
                    del repairs["from_date"]
                for name, fields in repairs.items():
                    repair = partial(self._manager.backfill, _NAME, **fields)
                    found[name] = await self._after(store, repair)
                await self._manager.rebuild(_NAME)
                found["rebuild"] = await self.differ(store, "expected")
                back = partial(self._manager.rollback_projection, _NAME)
                found["rollback"] = await self._after(store, back)
        return found

    async def _after(self, store: StoreTables, repair: Callable[[], Awaitable[object]]) -> int:
        async with self._engine.begin() as connection:
            await connection.execute(text("UPDATE order_summary SET total = total + 1000"))
        await repair()
        return await self.differ(store, "expected")

    async def _position(self) -> int:
        async with self._engine.connect() as connection:
            active = await generations.active(connection, _NAME)
        return (active and active.position) or 0

    def _worker(self) -> Worker:
        settings = Settings(database_url=self._url, task_queue="sources")
        plugin = RefoldPlugin(
            settings=settings,
            registry=Registry([self._projection]),
            engine=self._engine,
            chores=False,
        )
        return Worker(self._client, task_queue="sources", plugins=[plugin])


def _from(select: str, table: str) -> str:
    whole = select if "FROM EVENTS" in select else f"{select} FROM EVENTS"
    return whole.replace("FROM EVENTS", f"FROM {table} AS e")


def _others(table: str) -> tuple[str, ...]:
    if table.endswith("in_streams"):
        return ("UNIQUE (event_id, stream)",)
    return ("UNIQUE (event_id)",)


async def _deflate(connection: Any, table: str, position: str, column: str, *, after: int) -> None:
    temporary = "CREATE TEMP TABLE packed (n bigint, body bytea) ON COMMIT DROP"
    await connection.execute(text(temporary))
    driver = await raw(connection)
    wanted = f"SELECT {position}, {column} FROM {table} WHERE {position} > {after}"
    packed = [(record[0], zlib.compress(record[1])) for record in await driver.fetch(wanted)]
    await driver.copy_records_to_table("packed", records=packed)
    await driver.execute(f"UPDATE {table} SET {column} = body FROM packed WHERE n = {position}")


async def measure(stack: Stack, arguments: argparse.Namespace) -> dict[str, Found]:
    url = stack.database_url
    engine = make_engine(Settings(database_url=url), activities=8)
    try:
        if arguments.file:
            last = (await import_events(engine, Path(arguments.file))).events
            await vacuum(engine, "refold.events")
        else:
            last = arguments.events
            await seed(engine, last)
        cut = last - _LAST
        client = await Client.connect(
            stack.temporal_address, data_converter=pydantic_data_converter
        )
        projection = load_registry(["projections"]).get(_NAME)
        bench = Sources(engine, client, url, projection)
        await bench.expect("expected", last)
        await bench.expect("expected_cut", cut)
        await bench.set_later_aside(cut)
        await bench.timed(OWN)
        differ = await bench.differ(None, "expected_cut")
        print(f"{last:,} events; Refold's own: {differ} rows differ", flush=True)
        results: dict[str, Found] = {}
        for store in STORES:
            if arguments.only and not any(part in store.name for part in arguments.only):
                continue
            found = results[store.name] = Found(store.aim)
            await bench.make(store)
            for _ in range(arguments.runs):
                found.own.append(await bench.timed(OWN))
                found.seconds.append(await bench.timed(store.source()))
            found.differ["first rebuild"] = await bench.differ(store, "expected_cut")
            told = f"{store.name}: {found.ratio:.2f} times as long (aim: at most {store.aim})"
            began = time.perf_counter()
            found.differ |= await bench.ways(store, cut, last)
            counts = ", ".join(f"{way} {count}" for way, count in found.differ.items())
            print(
                f"{told}; rows that differ: {counts} ({time.perf_counter() - began:.0f} s)",
                flush=True,
            )
        return results
    finally:
        await engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--file", help="an event file, instead of events that are made up")
    parser.add_argument("--only", nargs="*", help="only stores with one of these in their name")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", help="where to write what was found")
    parser.add_argument("--port-base", type=int)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="refold-bench-") as directory,
        Stack(
            Path(directory), workers=0, migrate=migrate_url, port_base=arguments.port_base
        ) as stack,
    ):
        results = asyncio.run(measure(stack, arguments))
    if arguments.json:
        written = {name: asdict(one) | {"ratio": one.ratio} for name, one in results.items()}
        Path(arguments.json).write_text(json.dumps(written, indent=2))


if __name__ == "__main__":
    main()
