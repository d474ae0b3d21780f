"""A key that is a function against the same key as a path: the same events, the same rows.

    make keys                  one million events of 200,000 keys, three times each, in turn
    python -m bench.function_keys --events 100000 --runs 1

Each run rebuilds by path, rebuilds by function, and repairs 1 % of the function's keys. A scan is
what a repair cannot do without: reading all events and computing their keys.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from sqlalchemy import MetaData, quoted_name, text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from bench.measuring.figures import Figure, Part, against, arguments_of, told
from bench.rebuild import seed
from projections.order_summary import order_summary
from refold import BackfillRequest, Event, Projection, ProjectionManager, RefoldPlugin
from refold.cli.stack import migrate_url
from refold.projection.registry import Registry
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.runtime.threads import Hand
from refold.source.portions import stream
from refold.source.reader import as_events, in_position_order
from refold.stack.stack import Stack

_DIFFERENT = """
SELECT (SELECT count(*) FROM (TABLE order_summary EXCEPT TABLE by_function) AS a)
     + (SELECT count(*) FROM (TABLE by_function EXCEPT TABLE order_summary) AS b)
"""


def of_stream(event: Event) -> str:
    """The key that the other projection has as a path."""
    return event.stream_id


def by_function() -> Projection:
    """The read model of `order_summary`, by a function."""
    table = order_summary.table.to_metadata(MetaData(), name="by_function")
    for index in table.indexes:
        index.name = quoted_name(f"{index.name}_by_function", quote=None)
    projection = Projection("by-function", table=table, key=of_stream)
    for event_type, handler in order_summary.handlers.items():
        projection.on(event_type)(handler)
    return projection


async def scan(engine: AsyncEngine, projection: Projection) -> float:
    """Seconds for reading all events once, and computing their keys."""
    began = time.perf_counter()
    statement = in_position_order(types=projection.event_types, upto=2**62)
    hand = Hand(projection.name)
    async with engine.connect() as connection, stream(connection, statement, fetch=1000) as chunks:
        async for texts in chunks:
            for event in hand.each(as_events(texts)):
                projection.rows.keys_of(event)
    return time.perf_counter() - began


async def timed(manager: ProjectionManager, name: str, share: int | None = None) -> float:
    """Seconds for a rebuild, or for a repair of the keys of the last `share` events."""
    began = time.perf_counter()
    if share is None:
        await manager.rebuild(name)
    else:
        request = BackfillRequest(projection=name, criteria="last_n_events", last_n=share)
        await manager.backfill(name, request)
    return time.perf_counter() - began


async def measure(stack: Stack, events: int, runs: int) -> Part:
    """Measures all in turn, so many times."""
    url = stack.database_url
    engine = make_engine(Settings(database_url=url), activities=8)
    projection = by_function()
    differing = 0
    try:
        print(f"seeding {events:,} events of {events // 5:,} keys …", flush=True)
        await seed(engine, events)
        client = await Client.connect(
            stack.temporal_address, data_converter=pydantic_data_converter
        )
        registry = Registry([order_summary, projection])
        settings = Settings(database_url=url, task_queue="keys")
        plugin = RefoldPlugin(settings=settings, registry=registry, engine=engine, chores=False)
        seconds: dict[str, list[float]] = {n: [] for n in ("path", "function", "repair", "scan")}
        async with Worker(client, task_queue="keys", plugins=[plugin]):
            manager = ProjectionManager(client, url, task_queue="keys")
            for run in range(1, runs + 1):
                seconds["path"].append(await timed(manager, "order-summary"))
                seconds["function"].append(await timed(manager, "by-function"))
                seconds["repair"].append(await timed(manager, "by-function", events // 500))
                seconds["scan"].append(await scan(engine, projection))
                async with engine.connect() as connection:
                    differing += await connection.scalar(text(_DIFFERENT)) or 0
                each = ", ".join(f"{name} {of[-1]:.2f} s" for name, of in seconds.items())
                print(f"run {run}: {each}", flush=True)
    finally:
        await engine.dispose()
    figures = _figures(seconds, events)
    return Part(name="keys", events=events, figures=figures, differing_rows=differing)


def _figures(seconds: dict[str, list[float]], events: int) -> list[Figure]:
    def figure(name: str, says: str) -> Figure:
        values = seconds[name]
        return Figure(name=f"key-{name}", says=says, values=values, events=events)

    path = figure("path", "Rebuild, the key is a path")
    function = figure("function", "Rebuild, the key is a function")
    once = figure("scan", "reading all events, and computing their keys")
    repair = figure("repair", "Backfill of 1 % of a function's keys")
    most = 0.04 + once.median / function.median
    return [
        path,
        against(function, path, at_least=0.6),
        once,
        against(
            repair.model_copy(update={"events": None}),
            function,
            speed=False,
            at_most=most,
            note="4 % of the rebuild, and one scan",
        ),
    ]


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
