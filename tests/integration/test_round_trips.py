"""What work costs in statements: a batch that follows, a command, a whole run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, event, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.schema import CreateTable
from temporalio.client import Client

from refold.engine.folding.follower import take
from refold.requests.poison_policy import Poison
from refold.runtime.database import raw, server_error
from refold.runtime.driver import carry_out
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import assert_oracle, run, working, write

# Its checkpoint, the keys that are held, their rows, before and after; of many keys how large.
STATEMENTS = {5: 4, 40: 5}


@pytest.mark.usefixtures("counters_built")
async def test_a_batch_whose_rows_are_taken(database: Database) -> None:
    position = 200
    for keys, most in STATEMENTS.items():
        await write(database.engine, some(keys, each=1))
        position += keys
        said, by_driver = await _statements(database, upto=position, events=keys)
        assert len(said) <= most, said
        assert by_driver[-1] == "COMMIT;"
        assert not [query for query in by_driver if "SAVEPOINT" in query]
        assert await assert_oracle(database.engine, counters())


async def _statements(database: Database, *, upto: int, events: int) -> tuple[list[str], list[str]]:
    """What is executed when a batch is applied: by SQLAlchemy, and by the driver."""
    said: list[str] = []
    by_driver: list[str] = []

    def hear(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        said.append(statement)

    async with database.engine.connect() as connection:
        async with connection.begin():
            follower = await take(connection, counters(), 1, 1000, Poison())
        with (await raw(connection)).query_logger(lambda query: by_driver.append(query.query)):
            event.listen(database.engine.sync_engine, "before_cursor_execute", hear)
            assert await follower.commit_batch(connection, upto) == (events, 0)
            event.remove(database.engine.sync_engine, "before_cursor_execute", hear)
    return said, by_driver


@pytest.mark.usefixtures("counters_built")
async def test_keys_that_the_table_takes_for_one(database: Database) -> None:
    """The key's column was made CHAR by hand, to which spaces at the end are nothing."""
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql("ALTER TABLE counters ALTER key TYPE char(4)")
    await write(database.engine, [("s", "Added", {"key": key, "n": 1}) for key in ("b", "c", "b ")])
    async with database.engine.connect() as connection:
        async with connection.begin():
            follower = await take(connection, counters(), 1, 1000, Poison())
        assert await follower.commit_batch(connection, 203) == (3, 0)
        found = await connection.exec_driver_sql("SELECT trim(key) FROM counters ORDER BY key")
        assert [key for key in found.scalars() if not key.startswith("k0")] == ["b", "c"]


async def test_a_command_is_not_prepared_and_has_nothing_prepared_anew(database: Database) -> None:
    made = CreateTable(Table("made", MetaData(), Column("n", Integer)))
    async with database.engine.connect() as connection:
        for number in range(2):
            assert await connection.scalar(text("SELECT 1")) == 1
            async with connection.begin_nested() as savepoint:
                await carry_out(connection, made)
                assert await connection.scalar(text("SELECT count(*) FROM made")) == 0, number
                await savepoint.rollback()
        listed = await (await raw(connection)).fetch("SELECT statement FROM pg_prepared_statements")
    prepared = [record["statement"] for record in listed]
    assert prepared.count("SELECT 1") == 1
    assert not [one for one in prepared if one.startswith(("CREATE", "SAVEPOINT", "ROLLBACK"))]


async def test_a_command_that_is_refused(database: Database) -> None:
    async with database.engine.connect() as connection:
        with pytest.raises(ProgrammingError) as refused:
            async with connection.begin_nested():
                await connection.execute(text("ALTER TABLE no_such ADD COLUMN n int"))
        assert isinstance(server_error(refused.value), asyncpg.UndefinedTableError)
        assert await connection.scalar(text("SELECT 1")) == 1  # in the transaction around it


@pytest.mark.usefixtures("counters_built")
async def test_the_next_run_finds_its_statements_prepared(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each connection prepares a statement once, however many runs and commands come after it."""
    prepared: list[tuple[asyncpg.Connection[Any], str]] = []
    prepare = asyncpg.Connection.prepare

    async def noted(self: Any, query: str, **how: Any) -> Any:
        prepared.append((self, query))
        return await prepare(self, query, **how)

    monkeypatch.setattr(asyncpg.Connection, "prepare", noted)
    seen: set[str] = set()
    new: list[int] = []
    async with working(client, database, registry_of(counters())):
        for _ in range(4):
            await run(client, database, "Rebuild", "counters")
            texts = {query for _, query in prepared}
            new.append(len(texts - seen))
            seen |= texts
    # What is read is prepared anew where its parameters have other types.
    again = Counter(prepared) - Counter(set(prepared))
    assert again.total() <= 4, [query for _, query in again]
    # A few name the new generation. How many connections prepare a statement is the machine's.
    assert min(new[1:]) <= 10, new
    # None is thrown away between runs.
    pool = database.engine.pool
    assert isinstance(pool, AsyncAdaptedQueuePool)
    assert len({connection for connection, _ in prepared}) <= pool.size()
