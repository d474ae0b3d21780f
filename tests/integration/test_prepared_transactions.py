"""The settled head waits for prepared transactions, which have no session."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from refold.cli.doctor.examination import examine
from refold.cli.doctor.finding import Level
from refold.cli.doctor.look import Look
from refold.projection.registry import Registry
from refold.stack.postgres import EmbeddedPostgres
from tests.support.databases import Database, drop_database, make_database, make_template
from tests.support.kept_stores import STORES
from tests.support.mapped import given
from tests.support.ports import free_port
from tests.support.settling import (
    IN_OWN,
    PATIENT,
    Kept,
    keeping,
    name_of,
    reading,
    session,
    write,
)
from tests.support.soaking import mostly_soak


@pytest.fixture(scope="module")
def two_phase() -> Iterator[EmbeddedPostgres]:
    """A server of its own: prepared transactions must be allowed before it starts."""
    # Not below pytest's directory: another session of it would close that to the server.
    with tempfile.TemporaryDirectory(prefix="refold-tests-") as directory:
        server = EmbeddedPostgres(Path(directory), free_port(), {"max_prepared_transactions": "5"})
        server.start()
        yield server
        server.stop()


@pytest.fixture
async def two_phase_database(two_phase: EmbeddedPostgres) -> AsyncIterator[Database]:
    async with _made_once(two_phase) as made:
        yield made


@asynccontextmanager
async def _made_once(server: EmbeddedPostgres) -> AsyncIterator[Database]:
    connection = await asyncpg.connect(server.url)
    there = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = 'refold_template'")
    await connection.close()
    if not there:
        await make_template(server)
    made = await make_database(server)
    yield made
    await drop_database(server, made)


_KEPT = [IN_OWN, PATIENT, *mostly_soak(*STORES, suite=1)]


@pytest.mark.parametrize("kept", _KEPT, ids=name_of)
async def test_a_prepared_transaction_is_waited_for(
    two_phase_database: Database, kept: Kept
) -> None:
    database = two_phase_database
    async with session(database) as one:
        await one.execute(given(kept.ddl))
    with keeping(kept):
        await _waited_for(database)


async def _waited_for(database: Database) -> None:
    async with reading(database) as reader, session(database) as one, session(database) as other:
        await one.execute("BEGIN")
        first = await write(one)
        await one.execute("PREPARE TRANSACTION 'orphan'")
        second = await write(other)
        assert await reader.look() == []
        assert [writer.pid for writer in reader.head.waiting_for] == [None]
        await other.execute("COMMIT PREPARED 'orphan'")
        assert await reader.look() == [first, second]


async def test_a_prepared_transaction_is_named(two_phase_database: Database) -> None:
    database = two_phase_database
    async with reading(database) as reader, session(database) as one:
        await one.execute("BEGIN")
        await write(one)
        await one.execute("PREPARE TRANSACTION 'orphan'")
        await write(one)
        await reader.look()
        await one.execute("ROLLBACK PREPARED 'orphan'")
    [writer] = reader.head.waiting_for
    assert (writer.pid, writer.name) == (None, "prepared orphan")
    assert str(writer).startswith("prepared orphan since 20")


async def test_a_writer_that_is_prepared_while_it_is_waited_for_is_still_waited_for(
    two_phase_database: Database,
) -> None:
    database = two_phase_database
    async with reading(database) as reader, session(database) as one, session(database) as other:
        await one.execute("BEGIN")
        first = await write(one)
        second = await write(other)
        assert await reader.look() == []
        await one.execute("PREPARE TRANSACTION 'later'")
        for _ in range(3):
            assert await reader.look() == []
            assert reader.head.position < first
        await other.execute("COMMIT PREPARED 'later'")
        assert await reader.look() == [first, second]


async def test_prepared_transactions_that_follow_each_other_do_not_hold_the_head_for_ever(
    two_phase_database: Database,
) -> None:
    database = two_phase_database
    async with reading(database) as reader, session(database) as one, session(database) as other:
        await one.execute("BEGIN")
        await write(one)
        await write(other)
        await reader.look()
        # At each look another one is prepared, and the one before has ended.
        await one.execute("PREPARE TRANSACTION 'g0'")
        for number in range(1, 6):
            await reader.look()
            await one.execute("BEGIN")
            await write(one)
            await one.execute(f"PREPARE TRANSACTION 'g{number}'")
            await other.execute(f"COMMIT PREPARED 'g{number - 1}'")
        await reader.look()
        assert reader.head.position > 0
        await other.execute("COMMIT PREPARED 'g5'")
        await reader.look()
        await reader.look()
        assert reader.seen == sorted(set(reader.seen))
        assert len(reader.seen) == 7


async def test_doctor_names_an_old_prepared_transaction(two_phase_database: Database) -> None:
    database = two_phase_database
    async with session(database) as one:
        await one.execute("BEGIN")
        await write(one)
        await one.execute("PREPARE TRANSACTION 'it''s lost'")
        found = await examine(Look(database.settings, Registry([]), frozen_seconds=0.0))
        [old] = [each for each in found if each.check == "prepared transactions"]
        assert "'it''s lost' of postgres" in old.found
        [head] = [each for each in found if each.check == "head"]
        assert (old.level, head.level) == (Level.WRONG, Level.OK)
        commit, rollback = old.remedy.split("; or ")
        assert commit == "COMMIT PREPARED 'it''s lost'"
        await one.execute(rollback)
        assert await one.fetchval("SELECT count(*) FROM pg_prepared_xacts") == 0
