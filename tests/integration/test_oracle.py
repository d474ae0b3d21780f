"""The headline property: any batch size and partitioning give the rows of one sequential fold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from temporalio.client import Client

from refold import Projection
from tests.support.at_once import at_once
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.runs import assert_oracle, leftovers, run, working, write

KINDS = ["Rebuild", "Backfill", "incremental", "Rollback"]

events = st.lists(
    st.tuples(
        st.sampled_from(["Added", "Added", "Added", "Added", "Removed", "Other"]),
        # One key gets most of the events: larger than many batches.
        st.sampled_from(["big", "big", "big", "a", "b", "Ä", "ab", "ba", "z-1", "", None]),
        st.integers(-1000, 1000),
    ),
    max_size=120,
)


def as_events(drawn: list[tuple[str, str | None, int]]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (f"s{key}", kind, {"n": n} if key is None else {"key": key, "n": n})
        for kind, key, n in drawn
    ]


@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    first=events,
    second=events,
    batch_size=st.sampled_from([1, 2, 3, 7, 50]),
    partitions=st.integers(1, 4),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    made=st.sampled_from([at_once, counters]),
)
async def test_rows_are_those_of_one_sequential_fold(
    client: Client,
    database: Database,
    *,
    first: list[tuple[str, str | None, int]],
    second: list[tuple[str, str | None, int]],
    batch_size: int,
    partitions: int,
    kinds: list[str],
    made: Callable[..., Projection],
) -> None:
    projection = made(batch_size=batch_size, partitions=partitions)
    await _empty(database)
    await write(database.engine, as_events(first))
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        await assert_oracle(database.engine, projection)
        await write(database.engine, as_events(second))
        # A rollback needs something to go back to, and may be rolled back itself.
        for kind in ["Rebuild", *kinds] if "Rollback" in kinds else kinds:
            if kind == "Backfill":
                await _corrupt(database, projection)
            if kind == "incremental":
                await run(client, database, "Backfill", "counters", criteria="incremental_update")
            else:
                await run(client, database, kind, "counters")
            await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []


async def _corrupt(database: Database, projection: Projection) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE counters SET count = -1 WHERE key >= 'b'"))
        await connection.execute(text("DELETE FROM counters WHERE key = 'a'"))
        await connection.execute(
            text("INSERT INTO counters VALUES ('nobody', 1, 1) ON CONFLICT DO NOTHING")
        )


async def _empty(database: Database) -> None:
    """Hypothesis runs all its examples in one test: each begins with an empty database."""
    async with database.engine.begin() as connection:
        await connection.execute(text("DROP TABLE IF EXISTS counters"))
        for schema in (
            (
                await connection.execute(
                    text("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'refold\\_%'")
                )
            )
            .scalars()
            .all()
        ):
            await connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        await connection.execute(
            text(
                "TRUNCATE refold.events, refold.generations, refold.runs, refold.partitions, "
                "refold.leases RESTART IDENTITY"
            )
        )
