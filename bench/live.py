"""How soon an append is visible in a live read model, at 50 appends a second.

A writer appends on a schedule of its own, whatever is visible; a reader looks, about every
millisecond, which of the appends have become visible. The schedule is random within each of its
steps, so that appends do not fall into step with the follower's looks. Each run appends twice as
long: silently, then with the notification that wakes followers.

make live
python -m bench.live --appends 500 --events 20000 --seed 7
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from bench.load import differing_rows
from bench.loaded import loaded
from bench.measuring.figures import Figure, Part, arguments_of, told
from refold.cli.stack import migrate_url
from refold.manager.projections import ProjectionManager
from refold.messages.live import LiveStatus
from refold.source.port.current import OWN
from refold.stack.stack import Stack

_PER_SECOND = 50
_LOOK_SECONDS = 0.001
_APPEND = """
INSERT INTO refold.events (stream_id, version, type, data)
SELECT $1 || i, 1, 'Happened', jsonb_build_object('n', i % 1000) FROM generate_series(1, $2) AS i
"""
_VISIBLE = "SELECT id FROM loaded WHERE id = ANY($1::text[])"


@dataclass
class Seen:
    """What writer and reader have seen; times are of `time.perf_counter`.

    Attributes:
        committed: When each append was known to be committed, by row.
        outstanding: Those of them that are not visible yet.
        milliseconds: From commit to visible, of the others.
        written: Whether the writer has ended.
    """

    committed: dict[str, float] = field(default_factory=dict)
    outstanding: set[str] = field(default_factory=set)
    milliseconds: list[float] = field(default_factory=list)
    written: bool = False

    @property
    def rate(self) -> float:
        """Appends a second, as committed."""
        times = self.committed.values()
        return (len(times) - 1) / (max(times) - min(times))

    def percentile(self, percent: float) -> float:
        """The nearest rank."""
        ordered = sorted(self.milliseconds)
        return ordered[round(percent / 100 * (len(ordered) - 1))]


async def write(
    url: str, name: str, appends: int, chance: random.Random, seen: Seen, *, notify: bool
) -> None:
    """Appends one event at a random time in each fiftieth of a second."""
    connection = await asyncpg.connect(url)
    began = time.perf_counter()
    for n in range(appends):
        due = began + (n + chance.random()) / _PER_SECOND
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        async with connection.transaction():
            await connection.execute(_APPEND, f"{name}-{n}-", 1)
            if notify:
                await connection.execute("SELECT pg_notify($1, '')", OWN.wakes_on)
        seen.committed[f"{name}-{n}-1"] = time.perf_counter()
        seen.outstanding.add(f"{name}-{n}-1")
    seen.written = True
    await connection.close()


async def read(url: str, seen: Seen) -> None:
    """Looks for all that is outstanding, until everything has been visible."""
    connection = await asyncpg.connect(url)
    while seen.outstanding or not seen.written:
        if seen.outstanding:
            visible = await connection.fetch(_VISIBLE, list(seen.outstanding))
            now = time.perf_counter()
            for row in visible:
                seen.outstanding.remove(row["id"])
                seen.milliseconds.append(1000 * (now - seen.committed[row["id"]]))
        await asyncio.sleep(_LOOK_SECONDS)
    await connection.close()


async def trickle(url: str, name: str, appends: int, seed: int, *, notify: bool) -> Seen:
    """Appends at a steady rate, and how soon each was visible."""
    seen = Seen()
    chance = random.Random(seed)
    async with asyncio.TaskGroup() as group:
        group.create_task(write(url, name, appends, chance, seen, notify=notify))
        group.create_task(read(url, seen))
    return seen


async def burst(url: str, manager: ProjectionManager, name: str, events: int) -> float:
    """Appends many events at once; seconds until it has caught up."""
    connection = await asyncpg.connect(url)
    await connection.execute(_APPEND, f"{name}-", events)
    began = time.perf_counter()
    highest = await connection.fetchval("SELECT max(position) FROM refold.events")
    await connection.close()
    while (await manager.get_current_checkpoint(loaded.name) or 0) < highest:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    seconds = time.perf_counter() - began
    health = await manager.get_health(loaded.name)
    while health.status is not LiveStatus.LIVE or health.standing.lag_events:
        await asyncio.sleep(0.1)
        health = await manager.get_health(loaded.name)
    print(f"says so after {time.perf_counter() - began:.1f} s: {health.status}", flush=True)
    return seconds


async def measure(stack: Stack, appends: int, events: int, seed: int, runs: int) -> Part:
    """Measures all in turn, so many times."""
    url = stack.database_url
    client = await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)
    manager = ProjectionManager(client, url)
    connection = await asyncpg.connect(url)
    await connection.execute(_APPEND, "seed-", 1000)
    await connection.close()
    await manager.rebuild(loaded.name)
    await manager.start(loaded.name)
    while await manager.get_status(loaded.name) is not LiveStatus.LIVE:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    values: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        values.setdefault(name, []).append(value)

    for run in range(1, runs + 1):
        for how, notify in (("silent", False), ("notified", True)):
            seen = await trickle(url, f"{how}-{run}", appends, seed + run, notify=notify)
            for percent in (50, 95, 100):
                note(f"{how}-p{percent}", seen.percentile(percent))
            print(
                f"run {run}, {how}: {appends:,} appends, {seen.rate:.1f} a second "
                f"(aim: {_PER_SECOND}), seed {seed + run}",
                flush=True,
            )
        note("burst", await burst(url, manager, f"burst-{run}", events))
    figures = [
        Figure(name=f"{how}-p{percent}", says=says, unit="ms", values=values[f"{how}-p{percent}"])
        for how, words in (("silent", "append to visible"), ("notified", "the same, notified"))
        for percent, says in (
            (50, f"{words}, median"),
            (95, f"{words}, p95"),
            (100, f"{words}, longest"),
        )
    ]
    aims = {"silent-p50": 50, "silent-p95": 150, "notified-p50": 10, "notified-p95": 25}
    figures = [one.model_copy(update={"at_most": aims.get(one.name)}) for one in figures]
    caught = Figure(name="burst", says="catching up", values=values["burst"], events=events)
    differing = await differing_rows(url)
    return Part(name="live", events=events, figures=[*figures, caught], differing_rows=differing)


def main() -> None:
    """Runs the bench; exits with 1 when rows differ."""
    parser = arguments_of(__doc__, events=100_000, runs=1)
    parser.add_argument("--appends", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    arguments = parser.parse_args()
    os.environ["REFOLD_PROJECTIONS"] = "bench.loaded"
    with (
        tempfile.TemporaryDirectory(prefix="refold-live-") as directory,
        Stack(
            Path(directory), workers=1, port_base=arguments.port_base, migrate=migrate_url
        ) as stack,
    ):
        part = asyncio.run(
            measure(stack, arguments.appends, arguments.events, arguments.seed, arguments.runs)
        )
    raise SystemExit(0 if told(part, arguments.json) else 1)


if __name__ == "__main__":
    main()
