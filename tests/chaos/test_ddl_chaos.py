"""Statements of the trade on a live table, at any moment, while it is swapped again and again.

Each statement is executed in one transaction on the live table and on a twin of it that nobody
swaps. At the end the catalogue says of both the same, and the rows are what the events fold to.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold.store.tables import read_models
from tests.support.catalogue import placeless
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import assert_oracle, leftovers, run, working, write
from tests.support.soaking import soak

T = "ALTER TABLE counters "

# Some fail, when what they are about is not there, or is there already: then nothing is done.
DDL = [
    "CREATE INDEX mine ON counters (lower(key))",
    "CREATE INDEX mine ON counters (last) WHERE sum > 0",
    "CREATE UNIQUE INDEX single ON counters (key, last) INCLUDE (sum)",
    "ALTER INDEX mine RENAME TO single",
    "ALTER INDEX single RENAME TO mine",
    "DROP INDEX mine",
    "DROP INDEX single",
    "COMMENT ON INDEX mine IS 'mine'",
    "DROP INDEX counters_sum",
    "CREATE INDEX counters_sum ON counters (sum)",
    "CREATE INDEX counters_sum ON counters (sum DESC)",
    T + "ADD CONSTRAINT fair CHECK (count > 0)",
    T + "ADD CONSTRAINT fair CHECK (sum > -5) NOT VALID",
    T + "RENAME CONSTRAINT fair TO square",
    T + "DROP CONSTRAINT fair",
    T + "DROP CONSTRAINT square",
    T + "ADD CONSTRAINT once UNIQUE (key, count)",
    T + "DROP CONSTRAINT once",
    T + "ADD CONSTRAINT known FOREIGN KEY (key) REFERENCES public.keys",
    T + "ALTER CONSTRAINT known DEFERRABLE",
    T + "DROP CONSTRAINT known",
    T + "ALTER last SET DEFAULT 7",
    T + "ALTER last SET DEFAULT 8",
    T + "ALTER last DROP DEFAULT",
    T + "ALTER last SET NOT NULL",
    T + "ALTER last DROP NOT NULL",
    T + "ALTER key SET STATISTICS 7",
    T + "ALTER key SET STATISTICS -1",
    T + "SET (fillfactor = 70)",
    T + "RESET (fillfactor)",
    T + "REPLICA IDENTITY FULL",
    T + "REPLICA IDENTITY DEFAULT",
    T + "CLUSTER ON counters_pkey",
    T + "SET WITHOUT CLUSTER",
    "COMMENT ON TABLE counters IS 'counted'",
    "COMMENT ON COLUMN counters.sum IS 'in euros'",
    "COMMENT ON COLUMN counters.sum IS NULL",
    "GRANT SELECT ON counters TO PUBLIC",
    "REVOKE SELECT ON counters FROM PUBLIC",
    "GRANT SELECT (sum) ON counters TO PUBLIC",
    "CREATE TRIGGER touched AFTER DELETE ON counters EXECUTE FUNCTION public.touch()",
    T + "DISABLE TRIGGER touched",
    "DROP TRIGGER touched ON counters",
    "CREATE POLICY all_of_it ON counters USING (true)",
    "DROP POLICY all_of_it ON counters",
    "CREATE STATISTICS related (dependencies) ON count, sum FROM counters",
    "DROP STATISTICS related",
    "CREATE VIEW best AS SELECT key, sum FROM counters",
    "CREATE OR REPLACE VIEW best AS SELECT key, sum FROM counters WHERE sum > 1",
    "ALTER VIEW best SET (security_barrier = true)",
    "DROP VIEW best",
]


_REFUSED = (
    asyncpg.SyntaxOrAccessError,
    asyncpg.DependentObjectsStillExistError,
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
)


async def disturb(database: Database, dice: random.Random, done: list[str]) -> None:
    """Executes statements at random moments until it is cancelled."""
    connection = await asyncpg.connect(database.url)
    try:
        while True:
            statement = dice.choice(DDL)
            try:
                async with connection.transaction():
                    await connection.execute("SET LOCAL lock_timeout = '2s'")
                    for schema in ("public", "twin"):
                        await connection.execute(f"SET LOCAL search_path = {schema}")
                        await connection.execute(statement)
            except _REFUSED:
                pass
            else:
                done.append(statement)
            await asyncio.sleep(dice.uniform(0, 0.8))  # any moment of a run
    finally:
        await connection.close()


async def read(database: Database, seen: set[Any]) -> None:
    """Counts the rows again and again."""
    connection = await asyncpg.connect(database.url)
    try:
        while True:
            seen.add(await connection.fetchval("SELECT count(*) FROM public.counters"))
            await asyncio.sleep(0.02)  # what the runs need of a processor is theirs
    finally:
        await connection.close()


async def swap_again_and_again(
    client: Client,
    database: Database,
    dice: random.Random,
    rounds: int,
    enough: Callable[[], bool],
) -> None:
    """Swaps as often as `rounds`, and on until others have done `enough` meanwhile."""
    for number in itertools.count():
        if number >= rounds and enough():
            return
        await write(database.engine, some(4, 1, start_at=1000 * (number + 1)))
        kind = "Rebuild" if number % 2 == 0 else dice.choice(["Rebuild", "Rollback"])
        await run(client, database, kind, "counters")


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize(("seed", "rounds"), [(7, 2), *soak((random.randrange(10**6), 60))])
async def test_the_live_table_is_as_people_have_made_it(
    client: Client, database: Database, seed: int, rounds: int
) -> None:
    print(f"seed {seed}")
    dice = random.Random(seed)
    projection = counters()
    done: list[str] = []
    seen: set[Any] = set()
    async with working(client, database, registry_of(projection)):
        async with database.engine.begin() as connection:
            await read_models.create_shadow(connection, projection, "twin")
            await read_models.add_indexes(connection, projection, "twin")
            for statement in (
                "CREATE TABLE public.keys (key text PRIMARY KEY)",
                "INSERT INTO public.keys SELECT key FROM public.counters",
                "CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RETURN NULL; END $$",
            ):
                await connection.execute(text(statement))
        others = [
            asyncio.create_task(disturb(database, dice, done)),
            asyncio.create_task(read(database, seen)),
        ]

        def enough() -> bool:
            # How many a run sees is a matter of the machine. What has failed does no more.
            return len(done) > rounds or any(one.done() for one in others)

        try:
            await swap_again_and_again(client, database, dice, rounds, enough)
        finally:
            for task in others:
                task.cancel()
            ended = await asyncio.gather(*others, return_exceptions=True)
        assert [type(one) for one in ended] == [asyncio.CancelledError] * 2, ended
        # Once more, in peace.
        await run(client, database, "Rebuild", "counters")
    print(f"{len(done)} statements over {rounds} swaps")
    assert len(done) > rounds
    assert seen == {40}
    async with database.engine.begin() as connection:
        live = await placeless(connection, "public")
        assert live == await placeless(connection, "twin")
    await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []
