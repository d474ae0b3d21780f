"""The library eventsourcing's own `ProjectionRunner`, and Refold following from zero.

Both make the same rows of the same events, each from its own table of events in the same
PostgreSQL; the rows are compared. The runner applies event by event, each in a transaction, so it
is given as many events as it can do in some seconds.

    python -m bench.peer       10,000 events of 2,500 streams, three times each
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from eventsourcing.projection import ProjectionRunner
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from bench.follow import empty, follow
from bench.followed import keyed
from bench.measuring.figures import Figure, Part, against, arguments_of, told
from bench.peer.application import Counted, Log, Stream, View
from refold import ProjectionManager
from refold.cli.stack import migrate_url
from refold.runtime.database import make_engine
from refold.runtime.garbage import calm_garbage_collector
from refold.runtime.settings import Settings
from refold.stack.stack import Stack

_PER_STREAM = 4
# Of a stream, the first event is that it was opened.
_FIRST = 2
_LONGEST_SECONDS = 600.0
_LOOK_SECONDS = 0.01
_APPEND = """
INSERT INTO refold.events (stream_id, version, type, data)
SELECT s, v, 'Happened', jsonb_build_object('n', n)
FROM unnest($1::text[], $2::int[], $3::int[]) AS e (s, v, n)
"""
_DIFFERENT = """
SELECT (SELECT count(*) FROM (TABLE keyed EXCEPT TABLE peer) AS a)
     + (SELECT count(*) FROM (TABLE peer EXCEPT TABLE keyed) AS b)
"""
_AT_ZERO = "UPDATE refold.generations SET position = 0 WHERE status = 'active'"


def variables(url: str) -> dict[str, str]:
    """How the library finds its database."""
    there = urlsplit(url)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": there.path[1:],
        "POSTGRES_HOST": there.hostname or "",
        "POSTGRES_PORT": str(there.port),
        "POSTGRES_USER": there.username or "",
        "POSTGRES_PASSWORD": there.password or "none",
    }


def happen(url: str, events: int) -> list[tuple[str, int, int]]:
    """Appends through the library: stream, version and number of each event, in order."""
    log = Log(variables(url))
    numbers = count()
    said = []
    for _ in range(events // _PER_STREAM):
        stream = Stream()
        for version in range(1, _PER_STREAM + 1):
            n = next(numbers) % 1000
            stream.happen(n=n)
            said.append((str(stream.id), version, n))
        log.save(stream)
    log.close()
    return said


def run(url: str) -> float:
    """Seconds of the library's runner, from its first event to the last."""
    with ProjectionRunner(
        application_class=Log, projection_class=Counted, view_class=View, env=variables(url)
    ) as runner:
        last = runner.app.recorder.max_notification_id()
        _until(runner, _FIRST)
        began = time.perf_counter()
        _until(runner, last)
        return time.perf_counter() - began


def _until(runner: ProjectionRunner[Log, View], notification: int | None) -> None:
    """Looks often: `runner.wait` looks after 0.1, 0.3, 0.7 and 1.5 seconds, and then each 0.8."""
    end = time.monotonic() + _LONGEST_SECONDS
    while not runner.view.has_tracking_id(runner.app_name, notification):
        if time.monotonic() > end:
            raise TimeoutError(f"the runner has not come to {notification}")
        time.sleep(_LOOK_SECONDS)


async def measure(stack: Stack, events: int, runs: int) -> Part:
    """Measures both in turn, so many times."""
    url = stack.database_url
    client = await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)
    engine = make_engine(Settings(database_url=url))
    driver = await asyncpg.connect(url)
    await ProjectionManager(client, url).rebuild(keyed.name)
    said = await asyncio.to_thread(happen, url, events)
    await driver.execute(_APPEND, *map(list, zip(*said, strict=True)))
    head = await driver.fetchval("SELECT max(position) FROM refold.events")
    theirs, ours, differing = [], [], 0
    for number in range(1, runs + 1):
        await driver.execute("DROP TABLE IF EXISTS peer, counted_tracking")
        theirs.append(await asyncio.to_thread(run, url))
        await empty(driver, keyed.name)
        await driver.execute(_AT_ZERO)
        ours.append((await follow(engine, keyed, head)).passed)
        differing += await driver.fetchval(_DIFFERENT)
        print(f"run {number}: runner {theirs[-1]:.2f} s, following {ours[-1]:.2f} s", flush=True)
    await driver.close()
    await engine.dispose()
    peer = Figure(
        name="peer", says="eventsourcing's ProjectionRunner", values=theirs, events=len(said)
    )
    own = Figure(
        name="peer-follow", says="the same events, followed", values=ours, events=len(said)
    )
    figures = [peer, against(own, peer)]
    return Part(name="peer", events=len(said), figures=figures, differing_rows=differing)


def main() -> None:
    """Runs the bench; exits with 1 when rows differ."""
    arguments = arguments_of(__doc__, events=10_000).parse_args()
    calm_garbage_collector()
    os.environ["REFOLD_PROJECTIONS"] = "bench.followed"
    with (
        tempfile.TemporaryDirectory(prefix="refold-peer-") as directory,
        Stack(
            Path(directory), workers=1, port_base=arguments.port_base, migrate=migrate_url
        ) as stack,
    ):
        part = asyncio.run(measure(stack, arguments.events, arguments.runs))
    raise SystemExit(0 if told(part, arguments.json) else 1)


if __name__ == "__main__":
    main()
