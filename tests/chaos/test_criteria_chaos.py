"""Random logs, criteria, batches and partitions, and a worker that dies: the keys are right."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random, randrange
from typing import Any

import pytest
from sqlalchemy import delete, insert, text, update
from temporalio.client import Client

from refold import Event
from refold.store.schema import events
from tests.support.databases import Database
from tests.support.elsewhere import PLACES
from tests.support.mortal import mortal
from tests.support.processes import worker_environment, worker_processes
from tests.support.repairs import assert_repaired, outlived
from tests.support.runs import events_upto, leftovers, rows_of, run, start

KEYS = ["big", "a", "b", "ab", "ba", "Ä", "z-1", "", "ß", "9", "10"]
START = datetime(2026, 3, 1, tzinfo=UTC)

Asked = tuple[dict[str, Any], Callable[[Event], bool]]


def a_log(random: Random, count: int) -> list[dict[str, Any]]:
    """Events of which most are of one key, recorded about in order, some of types not read."""
    versions: dict[str, int] = {}
    made = []
    for number in range(count):
        key = random.choice([*KEYS, "big", "big", "big"])
        versions[key] = versions.get(key, 0) + 1
        kind = random.choices(["Added", "Removed", "Other"], [10, 1, 1])[0]
        at = START + timedelta(minutes=number, seconds=random.randint(-600, 600))
        data = {"key": key, "n": random.randint(-99, 99), "late": number > count // 2}
        row = {"stream_id": f"s{key}", "version": versions[key], "type": kind}
        made.append({**row, "data": data, "metadata": {}, "recorded_at": at})
    return made


def a_criterion(random: Random, count: int) -> Asked:
    """A request, and in plain Python which events it selects."""
    first = random.randint(1, count)
    last = random.randint(first, count + 5)
    since = START + timedelta(minutes=random.randint(0, count))
    until = since + timedelta(minutes=random.randint(1, 60))
    key = random.choice(KEYS)
    few = random.randint(1, 12)
    ways: list[Asked] = [
        (
            {"from_position": first, "to_position": last},
            lambda event: first <= event.position <= last,
        ),
        ({"from_position": first}, lambda event: event.position >= first),
        (
            {"criteria": "last_n_events", "last_n": few},
            lambda event: event.position > count - few,
        ),
        ({"from_date": since.isoformat()}, lambda event: event.recorded_at >= since),
        (
            {"from_date": since.isoformat(), "to_date": until.isoformat()},
            lambda event: since <= event.recorded_at < until,
        ),
        (
            {"predicate": f"event.data.key == {json.dumps(key, ensure_ascii=False)}"},
            lambda event: event.data["key"] == key,
        ),
        (
            # Nothing that SQL could decide.
            {"predicate": "event.data.n * 2 > 120 && event.data.late"},
            lambda event: event.data["n"] * 2 > 120 and event.data["late"],
        ),
        ({"criteria": "full_rebuild"}, lambda event: True),
    ]
    return random.choice(ways)


async def corrupt(database: Database, random: Random) -> None:
    rows = sorted(await rows_of(database.engine, mortal))
    table = mortal.table
    async with database.engine.begin() as connection:
        for key in random.sample(rows, len(rows) // 2):
            row = table.c.key == key
            changed = update(table).where(row).values(count=random.randint(-9, -1))
            await connection.execute(random.choice([delete(table).where(row), changed]))
        stray = {"key": random.choice(["stray", "b", "Ä"]), "count": -1, "sum": 1}
        await connection.execute(delete(table).where(table.c.key == stray["key"]))
        await connection.execute(insert(table).values(stray))


@pytest.mark.parametrize("database", PLACES, indirect=True)
@pytest.mark.parametrize(
    ("seed", "rounds", "more"),
    [
        pytest.param(2, 1, {}, id="seed 2"),
        pytest.param(1, 1, {}, id="seed 1", marks=pytest.mark.soak),
        *[pytest.param(None, 2, {}, id=f"random {n}", marks=pytest.mark.soak) for n in range(25)],
        *[
            pytest.param(None, 2, {"AT_ONCE": "1"}, id=f"at once {n}", marks=pytest.mark.soak)
            for n in range(8)
        ],
    ],
)
async def test_selected_keys_are_right_wherever_the_worker_dies(
    client: Client,
    database: Database,
    tmp_path: Path,
    *,
    seed: int | None,
    rounds: int,
    more: dict[str, str],
) -> None:
    seed = randrange(2**32) if seed is None else seed
    print(f"seed {seed}")
    random = Random(seed)
    count = random.randint(60, 400)
    async with database.log.begin() as connection:
        await connection.execute(insert(events), a_log(random, count))
    death = tmp_path / "death"
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.mortal",
        REFOLD_HEARTBEAT_TIMEOUT_SECONDS="1",
        REFOLD_SEGMENT_SECONDS=str(random.choice([0.01, 1, 10])),
        DEATH_FILE=str(death),
        PARTITIONS=str(random.randint(1, 4)),
        **more,
    )
    with worker_processes(environment, tmp_path) as workers:
        worker = workers.start()
        await run(client, database, "Rebuild", "counters")
        logged = await events_upto(database.engine, mortal)
        right = mortal.fold(logged)
        for round_number in range(rounds):
            await corrupt(database, random)
            before = await rows_of(database.engine, mortal)
            asked, selects = a_criterion(random, count)
            selected = {key for e in logged if selects(e) for key in mortal.rows.keys_of(e)}
            atomic = random.random() < 0.5
            work = sum(1 for e in logged if mortal.rows.keys_of(e)[0] in selected)
            death.write_text(str(random.randint(1, max(1, work))))
            request = {"projection": "counters", **asked, "is_atomic": atomic}
            request["batch_size"] = random.choice([1, 2, 3, 7, 50])
            print(f"{request}: {len(selected)} keys, dies after {death.read_text()} of {work}")
            handle = await start(
                client, database, "Backfill", request, workflow_id=f"{database.url}/{round_number}"
            )
            result, worker = await outlived(handle, workers, worker)
            assert result.status == "completed"
            after = await rows_of(database.engine, mortal)
            whole = asked.get("criteria") == "full_rebuild"
            assert_repaired(after, before=before, right=right, selected=selected, all_keys=whole)
            assert await leftovers(database.engine) == []
    async with database.engine.connect() as connection:
        left = await connection.scalar(text("SELECT count(*) FROM refold.selected_keys"))
    assert left == 0
