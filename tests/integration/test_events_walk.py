"""The walk in docs/events.md: its files, as they stand there, lead to a live read model."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold.projection.registry import Registry, load_registry
from refold.source.checking.check import check_events
from refold.source.port.current import load_source, using
from refold.stack.process import ChildProcess
from tests.support.databases import Database
from tests.support.live import live
from tests.support.processes import clean_environment
from tests.support.runs import checkpoint, rows_of, run, until, working

PAGE = Path(__file__).parents[2] / "docs" / "events.md"
_FILE = re.compile(r"^```py(?:thon)?\n# (\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@contextmanager
def application(place: Path, database: Database) -> Iterator[None]:
    """Appends as long as the context lasts."""
    child = ChildProcess(
        "the application",
        [sys.executable, "application.py"],
        log=place / "log",
        environment=clean_environment(REFOLD_DATABASE_URL=database.url),
        cwd=place,
    )
    try:
        yield
    finally:
        assert child.running, child.log_tail()
        child.stop(10)


async def test_the_walk_leads_to_a_live_read_model(
    client: Client, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code in _FILE.findall(PAGE.read_text()):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    source = load_source("shop.events:source")
    projection = load_registry(["shop.read_models"]).get("balances")

    async def events(least: int) -> bool:
        async with database.engine.connect() as connection:
            there = await connection.scalar(text("SELECT to_regclass('app_events')"))
            count = text("SELECT count(*) FROM app_events")
            return there is not None and await connection.scalar(count) >= least

    with using(source):
        async with working(client, database, Registry([projection])):
            with application(tmp_path, database):
                await until(lambda: events(50))
                looking = database.engine.execution_options(isolation_level="AUTOCOMMIT")
                async with looking.connect() as connection:
                    report = await check_events(connection)
                assert report.refused == []
                assert report.head is not None
                assert report.head > 0
                await run(client, database, "Rebuild", "balances")
            async with live(client, database, projection="balances"):
                with application(tmp_path, database):
                    await until(lambda: events(200))
                last = await _last(database)

                async def reached() -> bool:
                    return await checkpoint(database.engine, projection) == last

                await until(reached)
    rows = await rows_of(database.engine, projection)
    assert {key: row["balance"] for key, row in rows.items()} == await _balances(database)


async def _last(database: Database) -> int:
    async with database.engine.connect() as connection:
        return int(await connection.scalar(text("SELECT max(id) FROM app_events")) or 0)


async def _balances(database: Database) -> dict[int, int]:
    """The sum of what came after an account was closed for the last time."""
    async with database.engine.connect() as connection:
        found = await connection.execute(
            text(
                """
                SELECT account_id, sum(CASE type WHEN 'Deposited' THEN 1 ELSE -1 END
                                       * CAST(payload ->> 'amount' AS bigint))
                FROM app_events e
                WHERE NOT EXISTS (SELECT FROM app_events l WHERE l.account_id = e.account_id
                                  AND l.id >= e.id AND l.type = 'Closed')
                GROUP BY account_id
                """
            )
        )
        return {account: int(balance) for account, balance in found}
