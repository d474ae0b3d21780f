"""Rebuild of a projection said in SQL against the limit: the same select as one statement.

All is measured in turn, on the same machine and the same events. The limit is taken twice: into a
table without an index, which is what refolding does, and into one with the read model's indexes.

    make sql                   one million events of 200,000 streams, three times each
    python -m bench.sql --events 10000000
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from bench import rebuild
from bench.measuring.figures import Figure, Part, against, arguments_of, told
from bench.measuring.runs import timed
from bench.sums import order_sums
from refold import ProjectionManager, RefoldPlugin
from refold.cli.stack import migrate_url
from refold.projection.registry import Registry
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.stack.stack import Stack

_QUEUE = "bench-sql"
_DIFFERENT = """
SELECT (SELECT count(*) FROM (TABLE bench_limit EXCEPT TABLE order_sums) AS a)
     + (SELECT count(*) FROM (TABLE order_sums EXCEPT TABLE bench_limit) AS b)
"""


async def bare(engine: AsyncEngine) -> float:
    """Seconds for the rows by one statement, into a table without an index."""
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE IF EXISTS bench_bare"))
        await connection.execute(text("CREATE TABLE bench_bare (LIKE bench_limit)"))
    began = time.perf_counter()
    async with engine.begin() as connection:
        await connection.execute(text(rebuild.LIMIT.replace("bench_limit", "bench_bare")))
    return time.perf_counter() - began


async def measure(stack: Stack, events: int, runs: int) -> Part:
    """Measures all in turn, so many times."""
    url = stack.database_url
    engine = make_engine(Settings(database_url=url), activities=8)
    client = await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)
    registry = Registry([order_sums])
    settings = Settings(database_url=url, task_queue=_QUEUE)
    plugin = RefoldPlugin(settings=settings, registry=registry, engine=engine, chores=False)
    seconds: dict[str, list[float]] = defaultdict(list)
    differing = 0
    try:
        print(f"seeding {events:,} events of {events // 5:,} streams …", flush=True)
        await rebuild.seed(engine, events)
        async with Worker(client, task_queue=_QUEUE, plugins=[plugin]):
            manager = ProjectionManager(client, url, task_queue=_QUEUE)
            await manager.rebuild(order_sums.name)  # so that there is a live table to compare
            for number in range(1, runs + 1):
                seconds["indexed"].append(await rebuild.limit(engine))
                seconds["bare"].append(await bare(engine))
                for at_once in (1, 2):
                    starting = manager.start_rebuild(order_sums.name, max_concurrency=at_once)
                    run = await timed(client, manager, starting)
                    seconds[f"refolding-{at_once}"].append(run.spans["refold_segment"])
                    seconds[f"whole-{at_once}"].append(run.whole)
                    async with engine.connect() as connection:
                        differing += await connection.scalar(text(_DIFFERENT)) or 0
                each = ", ".join(f"{name} {of[-1]:.2f} s" for name, of in seconds.items())
                print(f"run {number}: {each}", flush=True)
    finally:
        await engine.dispose()
    figures = _figures(seconds, events)
    return Part(name="sql", events=events, figures=figures, differing_rows=differing)


def _figures(seconds: dict[str, list[float]], events: int) -> list[Figure]:
    def figure(name: str, says: str) -> Figure:
        return Figure(name=f"sql-{name}", says=says, values=seconds[name], events=events)

    plain = figure("bare", "one INSERT … SELECT … GROUP BY, no index")
    indexed = figure("indexed", "the same, indexes there")
    one = figure("refolding-1", "SqlProjection, refolding, one partition at a time")
    two = figure("refolding-2", "SqlProjection, refolding, two at a time")
    whole = figure("whole-2", "SqlProjection, the whole run, two at a time")
    return [
        plain,
        against(indexed, plain),
        against(one, plain, at_least=0.85),
        against(two, plain, at_least=1.2),
        against(whole, plain, at_least=0.7),
        against(figure("whole-1", "SqlProjection, the whole run, one at a time"), plain),
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
