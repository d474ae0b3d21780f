"""Rebuild against the limit: what PostgreSQL needs for the same rows in one statement.

Each run measures, in turn, on the same machine and the same events: the statement; rebuilds with
one worker process and with two; a backfill in place, of all keys and of 1 % of them; and the steps
of the rebuild called by a script, without Temporal. The ratio of the medians is what counts, as
machines differ and are shared.

    make rebuild               one million events of 200,000 streams, three times each
    python -m bench.rebuild --events 100000 --runs 1
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from bench.measuring.clocks import Clock, peak_mebibytes
from bench.measuring.figures import Figure, Part, Unit, against, arguments_of, told
from bench.measuring.runs import Told, timed
from bench.measuring.workers import environment, worker
from refold.cli.stack import migrate_url
from refold.manager.projections import ProjectionManager
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.stack.stack import Stack

_PER_STREAM = 5

# Five events a stream, all streams interleaved: an order, three items, one return.
_SEED = """
INSERT INTO refold.events (stream_id, version, type, data, metadata, recorded_at)
SELECT 'invoice-' || lpad((i % :streams)::text, 7, '0'), i / :streams + 1,
       (ARRAY['OrderPlaced', 'ItemAdded', 'ItemAdded', 'ItemAdded', 'ItemReturned'])
           [i / :streams + 1],
       CASE WHEN i < :streams
            THEN jsonb_build_object('customer_id', c.id, 'country', 'United Kingdom')
            ELSE jsonb_build_object('sku', 'S' || i % 1000, 'description', 'An article of the shop',
                 'quantity', 1 + i % 12, 'unit_price', round((i % 997) / 100.0, 2)::text) END,
       jsonb_build_object('customer_id', c.id, 'country', 'United Kingdom',
                          'correlation_id', i % :streams),
       timestamptz '2026-01-01' + i * interval '1 second'
FROM generate_series(0, :events - 1) AS i, LATERAL (SELECT (10000 + i % 5000)::text AS id) AS c
"""

# The read model order-summary, in SQL.
LIMIT = """
INSERT INTO bench_limit
SELECT stream_id, (array_agg(metadata ->> 'customer_id' ORDER BY position))[1],
       coalesce(sum((data ->> 'quantity')::int) FILTER (WHERE type = 'ItemAdded'), 0),
       coalesce(sum((data ->> 'quantity')::int * (data ->> 'unit_price')::numeric)
                FILTER (WHERE type = 'ItemAdded'), 0),
       coalesce(sum((data ->> 'quantity')::int * (data ->> 'unit_price')::numeric)
                FILTER (WHERE type = 'ItemReturned'), 0),
       CASE WHEN (array_agg(type ORDER BY position))[1] IN ('OrderPlaced', 'ItemAdded')
            THEN 'placed' ELSE 'credited' END
FROM refold.events
WHERE type IN ('OrderPlaced', 'ItemAdded', 'ItemReturned', 'CreditNoteIssued')
GROUP BY stream_id
"""

_DIFFERENT = """
SELECT (SELECT count(*) FROM (TABLE bench_limit EXCEPT TABLE order_summary) AS a)
     + (SELECT count(*) FROM (TABLE order_summary EXCEPT TABLE bench_limit) AS b)
"""


# So that there is something to repair, in 1 % of the keys.
_SPOIL = """
UPDATE order_summary SET items = items + 1 WHERE order_id IN
    (SELECT stream_id FROM refold.events ORDER BY position DESC LIMIT :events)
"""
_NAME = "order-summary"
# Steps of a run, by the activity that is most of them.
_STEPS = {
    "begin_run": "lease and plan",
    "refold_segment": "refolding",
    "build_indexes": "indexes",
    "verify_generation": "comparison with the live table",
    "prepare_swap": "statistics, before the swap",
}


async def seed(engine: AsyncEngine, events: int) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(_SEED), {"events": events, "streams": events // _PER_STREAM})
    await vacuum(engine, "refold.events")


async def vacuum(engine: AsyncEngine, table: str) -> None:
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text(f"VACUUM ANALYZE {table}"))
        await connection.execute(text("CHECKPOINT"))


async def limit(engine: AsyncEngine) -> float:
    """Seconds for the rows by one statement, into an empty table with the read model's indexes."""
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE IF EXISTS bench_limit"))
        await connection.execute(
            text(
                "CREATE TABLE bench_limit (order_id text PRIMARY KEY, customer_id text, "
                "items int NOT NULL, total numeric(14,2) NOT NULL, "
                "returned numeric(14,2) NOT NULL, status text NOT NULL)"
            )
        )
        await connection.execute(text("CREATE INDEX ON bench_limit (customer_id)"))
    began = time.perf_counter()
    async with engine.begin() as connection:
        await connection.execute(text(LIMIT))
    return time.perf_counter() - began


async def rebuild(manager: ProjectionManager) -> float:
    """Seconds for a rebuild through the real workflow, from start to result."""
    began = time.perf_counter()
    await manager.rebuild(_NAME)
    return time.perf_counter() - began


class Measuring:
    """What is measured in turn.

    Args:
        stack: Servers, without workers.
        engine: Its database.
        client: Its Temporal.
        events: How many events there are.
    """

    def __init__(self, stack: Stack, engine: AsyncEngine, client: Client, events: int) -> None:
        self._stack = stack
        self._engine = engine
        self._client = client
        self._events = events
        self._manager = ProjectionManager(client, stack.database_url)
        self._values: dict[str, list[float]] = defaultdict(list)
        self.differing = 0

    async def first(self) -> None:
        """A live table, so that all rebuilds have one to compare with."""
        async with worker(self._stack, "worker-1"):
            await self._manager.rebuild(_NAME)

    async def once(self) -> None:
        """Measures everything once."""
        self._values["statement"].append(await limit(self._engine))
        async with AsyncExitStack() as workers:
            one = await workers.enter_async_context(worker(self._stack, "worker-1"))
            clock = Clock(self._stack, [one])
            run = await timed(self._client, self._manager, self._manager.start_rebuild(_NAME))
            self._note("one", run, clock)
            await self._compare()
            await self._in_place("repaired", criteria="last_n_events", last_n=self._events // 500)
            await self._in_place("in-place", criteria="full_rebuild")
            self._values["peak"].append(peak_mebibytes(one))
            two = await workers.enter_async_context(worker(self._stack, "worker-2"))
            await rebuild(self._manager)  # as the first one has worked before
            clock = Clock(self._stack, [one, two])
            run = await timed(self._client, self._manager, self._manager.start_rebuild(_NAME))
            self._note("two", run, clock)
            await self._compare()
        # Without workers: they would sweep what no workflow holds.
        await self._script()
        await self._compare()
        each = ", ".join(
            f"{name} {self._values[name][-1]:.2f} s"
            for name in ("statement", "one", "two", "script", "in-place", "repaired")
        )
        print(f"run {len(self._values['script'])}: {each}", flush=True)

    def _note(self, name: str, run: Told, clock: Clock) -> None:
        spent = clock.spent()
        self._values[name].append(run.whole)
        self._values[f"{name}-worker"].append(spent.workers)
        self._values[f"{name}-postgres"].append(spent.postgres)
        self._values[f"{name}-temporal"].append(spent.temporal)
        worked = spent.workers + spent.postgres + spent.temporal
        self._values[f"{name}-processors"].append(worked)
        for activity in _STEPS:
            self._values[f"{name}-{activity}"].append(run.spans[activity])
        self._values["history"].append(run.events)
        self._values["size"].append(run.size)
        if run.hold_milliseconds is not None:
            self._values["hold"].append(run.hold_milliseconds)

    async def _in_place(self, name: str, **request: object) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(text(_SPOIL), {"events": self._events // 500})
        run = self._manager.start_backfill(_NAME, {"projection": _NAME, **request})
        self._values[name].append((await timed(self._client, self._manager, run)).whole)
        await self._compare()
        await vacuum(self._engine, "order_summary")

    async def _script(self) -> None:
        clock = Clock(self._stack, [])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.measuring.bare", _NAME),
            env=environment(self._stack),
            stdout=PIPE,
        )
        said, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"the script ended with {process.returncode}; it says why above")
        took = json.loads(said.splitlines()[-1])
        self._values["script"].append(took["seconds"])
        worked = took["processor"] + clock.spent().postgres
        self._values["script-processors"].append(worked)

    async def _compare(self) -> None:
        async with self._engine.connect() as connection:
            self.differing += await connection.scalar(text(_DIFFERENT)) or 0

    def part(self) -> Part:
        """All of it, as figures."""
        statement = self._figure("statement", "one INSERT … SELECT … GROUP BY, indexes there")
        one = self._figure("rebuild-one", "Rebuild, one worker process", "one")
        two = self._figure("rebuild-two", "Rebuild, two worker processes", "two")
        script = self._figure("script", "the same steps in a script, without Temporal")
        whole = self._figure("in-place", "Backfill of all keys in place")
        repaired = self._figure("repair", "Backfill of 1 % of the keys in place", "repaired")
        one = against(one, statement, at_least=0.33)
        worked = self._per_event("script-processors", "processors, the steps in a script")
        figures = [
            statement,
            one,
            against(two, statement, at_least=0.42),
            against(script, statement),
            against(
                one.model_copy(
                    update={"name": "orchestration", "says": "the whole run beside the script"}
                ),
                script,
                speed=False,
                at_most=1.1,
            ),
            worked,
            against(
                self._per_event("one-processors", "processors, the whole run, Temporal's too"),
                worked,
                speed=False,
            ),
            against(whole, statement),
            against(repaired.model_copy(update={"events": None}), one, speed=False, at_most=0.03),
        ]
        figures += [
            self._per_event(f"{which}-{name}", f"{says}, {words}")
            for which, words in (("one", "one process"), ("two", "two processes"))
            for name, says in (
                ("worker", "processor of the workers"),
                ("postgres", "processor of PostgreSQL"),
                ("temporal", "processor of Temporal"),
                *_STEPS.items(),
            )
        ]
        return Part(
            name="rebuild",
            events=self._events,
            figures=[
                *figures,
                self._plain("hold", "readers locked out by the swap", "ms", 25),
                self._plain("peak", "peak memory of a worker", "MiB", 300),
                self._plain("history", "history of a rebuild", "events", 10_000),
                self._plain("size", "history of a rebuild", "bytes"),
            ],
            differing_rows=self.differing,
        )

    def _figure(self, name: str, says: str, values: str | None = None) -> Figure:
        found = self._values[values or name]
        return Figure(name=name, says=says, values=found, events=self._events)

    def _per_event(self, name: str, says: str) -> Figure:
        values = [1e6 * seconds / self._events for seconds in self._values[name]]
        return Figure(name=name, says=says, unit="µs an event", values=values)

    def _plain(self, name: str, says: str, unit: Unit, at_most: float | None = None) -> Figure:
        return Figure(name=name, says=says, unit=unit, values=self._values[name], at_most=at_most)


async def measure(stack: Stack, events: int, runs: int) -> Part:
    """Measures all in turn, so many times."""
    engine = make_engine(Settings(database_url=stack.database_url))
    try:
        print(f"seeding {events:,} events of {events // _PER_STREAM:,} streams …", flush=True)
        await seed(engine, events)
        client = await Client.connect(
            stack.temporal_address, data_converter=pydantic_data_converter
        )
        measuring = Measuring(stack, engine, client, events)
        await measuring.first()
        for _ in range(runs):
            await measuring.once()
        return measuring.part()
    finally:
        await engine.dispose()


def main() -> None:
    """Runs the bench; exits with 1 when rows differ."""
    arguments = arguments_of(__doc__, events=1_000_000).parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="refold-bench-") as directory,
        Stack(
            Path(directory), workers=0, port_base=arguments.port_base, migrate=migrate_url
        ) as stack,
    ):
        part = asyncio.run(measure(stack, arguments.events, arguments.runs))
    raise SystemExit(0 if told(part, arguments.json) else 1)


if __name__ == "__main__":
    main()
