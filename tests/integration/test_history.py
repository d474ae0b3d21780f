"""A long history: what is old is forgotten, what is asked about stays, nothing reads all of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.planning import auto_start
from refold.messages.live import AUTO_START, auto_start_id
from refold.store import generations, history, leases, runs
from refold.store.snapshots import copies
from refold.worker.chores.history import History
from tests.support.counters import counters
from tests.support.databases import Database
from tests.support.eager import eager

LONG = 100_000
PROJECTION = counters()

# Each has been discarded, or has ended, so many days ago.
_OLD = """
    INSERT INTO refold.generations (projection, generation, version, status, schema_name,
        table_name, run_id, created_at, discarded_at)
    SELECT '{name}', n, 1, 'discarded', 'gone', '{name}', 'run-' || n, day, day
    FROM (SELECT n, now() - ({many} - n + {newest}) * interval '1 day' / {a_day} AS day
          FROM generate_series(1, {many}) n) numbered;
    INSERT INTO refold.runs (run_id, projection, kind, workflow_id, status, request, plan,
        started_at, ended_at)
    SELECT '{name}-run-' || n, '{name}', 'Rebuild', 'rebuild/{name}', 'failed', '{{}}',
        '{{"version": 1}}', day, day
    FROM (SELECT n, now() - ({many} - n + {newest}) * interval '1 day' / {a_day} AS day
          FROM generate_series(1, {many}) n) numbered
"""


async def long_history(
    database: Database, name: str, many: int, *, newest: int = 0, a_day: int = 1
) -> None:
    """Generations discarded and runs failed, so many a day, the newest so long ago."""
    async with database.engine.begin() as connection:
        for statement in _OLD.format(name=name, many=many, newest=newest, a_day=a_day).split(";"):
            await connection.execute(text(statement))


async def kept(database: Database, table: str, column: str, name: str) -> list[Any]:
    async with database.engine.connect() as connection:
        found = await connection.execute(
            text(f"SELECT {column} FROM refold.{table} WHERE projection = :name ORDER BY 1"),
            {"name": name},
        )
        return list(found.scalars())


@pytest.mark.parametrize(("many", "left"), [(100, 30), (25, 25), (15, 15)])
async def test_what_is_older_than_a_month_is_forgotten_but_for_the_latest(
    database: Database, many: int, left: int
) -> None:
    await long_history(database, "a", many)
    looked = await History(database.engine, database.settings).run_once()
    assert looked.troubles == []
    for table, column in (("generations", "generation"), ("runs", "run_id")):
        assert len(await kept(database, table, column, "a")) == left
    async with database.engine.connect() as connection:
        # Its numbers go on.
        assert await generations.highest(connection, "a") == many


async def test_the_latest_stay_however_old(database: Database) -> None:
    await long_history(database, "a", 100, newest=400)
    await History(database.engine, database.settings).run_once()
    found = await kept(database, "generations", "generation", "a")
    assert found == list(range(101 - history.KEPT, 101))


async def test_what_is_still_asked_about_stays(database: Database) -> None:
    """Old as they are: of each version the latest that worked, or was started by itself."""
    wanted = eager("a", 2)
    async with database.engine.begin() as connection:
        for number, (run_id, changes) in enumerate(
            {
                "worked long before": "status = 'completed'",
                "worked": "status = 'completed'",
                "tried by itself": f"requested_by = '{AUTO_START}'",
                "tried under its id": f"workflow_id = '{auto_start_id('a', 7)}', plan = NULL",
                "made what is retained": "status = 'completed', plan = NULL",
                "holds it": "status = 'failed'",
                "failed": "status = 'failed'",
                "goes on": "status = 'running', ended_at = NULL",
            }.items()
        ):
            await runs.begin(
                connection,
                run_id=run_id,
                projection="a",
                kind="Rebuild",
                workflow_id="rebuild/a",
                request={},
            )
            await connection.execute(
                text(
                    "UPDATE refold.runs SET status = 'failed', "
                    "ended_at = now() - interval '1 year', "
                    "started_at = now() - interval '2 years' + :n * interval '1 hour', "
                    """plan = '{"version": 2}' WHERE run_id = :run"""
                ),
                {"run": run_id, "n": number},
            )
            await connection.execute(
                text(f"UPDATE refold.runs SET {changes} WHERE run_id = :run"), {"run": run_id}
            )
        await leases.acquire(
            connection, "a", run_id="holds it", workflow_id="w", namespace="default"
        )
        await generations.create(
            connection,
            "a",
            version=1,
            status=generations.RETAINED,
            schema_name="s",
            table_name="a",
            run_id="made what is retained",
        )
    async with database.engine.begin() as connection:
        for _ in range(history.KEPT):
            await runs.begin(
                connection,
                run_id=f"new-{_}",
                projection="a",
                kind="Rebuild",
                workflow_id="rebuild/a",
                request={},
            )
    await History(database.engine, database.settings).run_once()
    found = [one for one in await kept(database, "runs", "run_id", "a") if "new-" not in one]
    assert found == [
        "goes on",
        "holds it",
        "made what is retained",
        "tried by itself",
        "tried under its id",
        "worked",
    ]
    async with database.engine.begin() as connection:
        await leases.release(connection, "holds it")
        assert not await auto_start.wanted(connection, wanted)


LOOKS: dict[str, Callable[[AsyncConnection], Awaitable[Any]]] = {
    "active": lambda c: generations.active(c, "a"),
    "snapshots": lambda c: copies.newest_first(c, "a"),
    "retained": lambda c: generations.replaced(c, "a"),
    "highest": lambda c: generations.highest(c, "a"),
    "left building": generations.left_building,
    "latest run": lambda c: runs.latest(c, "a"),
    "rate": lambda c: runs.latest_rate(c, "a"),
    "whether it builds itself": lambda c: auto_start.wanted(c, eager("a", 2)),
}


async def test_nothing_reads_a_long_history(database: Database) -> None:
    """Each look, and so a live projection's report, reads a few rows of 100,000."""
    await long_history(database, "a", LONG, a_day=10_000)
    async with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as one:
        await one.execute(text("VACUUM ANALYZE refold.runs, refold.generations"))
        asked: list[tuple[str, Any]] = []

        def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
            asked.append((statement, parameters))

        event.listen(database.engine.sync_engine, "before_cursor_execute", note)
        for name, look in LOOKS.items():
            asked.clear()
            await look(one)
            for statement, parameters in list(asked):
                plan = await one.exec_driver_sql(
                    f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
                )
                read = _read(plan.scalar_one()[0]["Plan"])
                assert read < 200, f"{name} reads {read} rows: {statement}"


def _read(plan: dict[str, Any]) -> float:
    """The rows that a plan's scans have looked at."""
    own = 0.0
    if "Scan" in plan["Node Type"]:
        removed = plan.get("Rows Removed by Filter", 0)
        own = (plan["Actual Rows"] + removed) * plan["Actual Loops"]
    return own + sum(_read(inner) for inner in plan.get("Plans", []))
