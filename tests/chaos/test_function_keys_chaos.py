"""Keys that a function makes: random logs, criteria, batches, partitions, a worker that dies."""

from __future__ import annotations

from pathlib import Path
from random import Random, randrange

import pytest
from sqlalchemy import delete, insert, update
from temporalio.client import Client

from refold import Projection
from refold.store.schema import events
from tests.chaos.test_criteria_chaos import a_criterion, a_log
from tests.support.databases import Database
from tests.support.keyed import KEYS, keyed
from tests.support.processes import worker_environment, worker_processes
from tests.support.repairs import assert_repaired, outlived
from tests.support.runs import events_upto, leftovers, rows_of, run, start


async def corrupt(database: Database, projection: Projection, random: Random) -> None:
    """Half of the rows are changed or removed."""
    table, names = projection.table, projection.key_columns
    rows = await rows_of(database.engine, projection)
    async with database.engine.begin() as connection:
        for row in random.sample(list(rows.values()), len(rows) // 2):
            same = [table.c[name] == row[name] for name in names]
            changed = update(table).where(*same).values(count=random.randint(-9, -1))
            await connection.execute(random.choice([delete(table).where(*same), changed]))


@pytest.mark.parametrize(
    ("seed", "rounds"),
    [
        pytest.param(15, 1, id="seed 15"),
        *[pytest.param(None, 2, id=f"random {n}", marks=pytest.mark.soak) for n in range(25)],
    ],
)
async def test_keys_are_right_wherever_the_worker_dies(
    client: Client, database: Database, tmp_path: Path, seed: int | None, rounds: int
) -> None:
    seed = randrange(2**32) if seed is None else seed
    print(f"seed {seed}")
    random = Random(seed)
    count = random.randint(60, 300)
    place = random.randrange(len(KEYS))
    projection = keyed(KEYS[place])
    async with database.log.begin() as connection:
        await connection.execute(insert(events), a_log(random, count))
    death = tmp_path / "death"
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.keyed",
        REFOLD_HEARTBEAT_TIMEOUT_SECONDS="1",
        REFOLD_SEGMENT_SECONDS=str(random.choice([0.01, 1, 10])),
        DEATH_FILE=str(death),
        PARTITIONS=str(random.randint(1, 4)),
        KEY=str(place),
    )
    with worker_processes(environment, tmp_path) as workers:
        worker = workers.start()
        await run(client, database, "Rebuild", "keyed")
        logged = await events_upto(database.engine, projection)
        right = projection.fold(logged)
        assert await rows_of(database.engine, projection) == right
        for number in range(rounds):
            await corrupt(database, projection, random)
            before = await rows_of(database.engine, projection)
            asked, selects = a_criterion(random, count)
            selected = {k for e in logged if selects(e) for k in projection.rows.keys_of(e)}
            death.write_text(str(random.randint(1, 2 * count)))
            atomic = random.random() < 0.5
            request = {"projection": "keyed", **asked, "is_atomic": atomic}
            request["batch_size"] = random.choice([1, 2, 3, 7, 50])
            print(f"{request}: {len(selected)} keys, dies at call {death.read_text()}")
            handle = await start(
                client, database, "Backfill", request, workflow_id=f"{database.url}/{number}"
            )
            result, worker = await outlived(handle, workers, worker)
            assert result.status == "completed"
            assert result.in_place != atomic or not selected
            after = await rows_of(database.engine, projection)
            whole = asked.get("criteria") == "full_rebuild"
            assert_repaired(after, before=before, right=right, selected=selected, all_keys=whole)
            assert await leftovers(database.engine) == []
            death.unlink(missing_ok=True)
