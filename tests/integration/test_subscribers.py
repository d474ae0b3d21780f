"""What subscribers of a read model see of a swap, by logical replication between two databases."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from temporalio.client import Client

from refold.stack.postgres import EmbeddedPostgres
from tests.support.counters import counters, registry_of
from tests.support.databases import Database, drop_database, make_database, make_template
from tests.support.events import some
from tests.support.ports import free_port
from tests.support.runs import run, until, working, write

_ROWS = "SELECT key, count, sum, last FROM counters ORDER BY key"


@pytest.fixture(scope="module")
def replicating() -> Iterator[EmbeddedPostgres]:
    """A server of its own that writes what logical replication needs."""
    # Not below pytest's directory: another session of it would close that to the server.
    with tempfile.TemporaryDirectory(prefix="refold-tests-") as directory:
        server = EmbeddedPostgres(Path(directory), free_port(), {"wal_level": "logical"})
        server.start()
        yield server
        server.stop()


@pytest.fixture
async def publisher(replicating: EmbeddedPostgres) -> AsyncIterator[Database]:
    connection = await asyncpg.connect(replicating.url)
    there = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = 'refold_template'")
    await connection.close()
    if not there:
        await make_template(replicating)
    made = await make_database(replicating)
    yield made
    await drop_database(replicating, made)


class Subscriber:
    """A database that copies the read model of another by logical replication."""

    def __init__(self, here: asyncpg.Connection[Any], publisher: asyncpg.Connection[Any]) -> None:
        self.here = here
        self.publisher = publisher
        self.subscribes = False

    async def subscribe(self, url: str) -> None:
        # Of one server with its publisher: made by CREATE SUBSCRIPTION, the slot would wait for it.
        await self.publisher.execute(
            "SELECT pg_create_logical_replication_slot('copying', 'pgoutput')"
        )
        await self.here.execute(
            f"CREATE SUBSCRIPTION copying CONNECTION '{url}' PUBLICATION published "
            "WITH (create_slot = false, slot_name = 'copying')"
        )
        self.subscribes = True

    async def unsubscribe(self) -> None:
        self.subscribes = False
        await self.here.execute("ALTER SUBSCRIPTION copying DISABLE")
        await self.here.execute("ALTER SUBSCRIPTION copying SET (slot_name = NONE)")
        await self.here.execute("DROP SUBSCRIPTION copying")

        async def dropped() -> bool:
            try:
                await self.publisher.execute("SELECT pg_drop_replication_slot('copying')")
            except asyncpg.ObjectInUseError:
                return False
            return True

        await until(dropped)

    async def refresh(self) -> None:
        await self.here.execute("ALTER SUBSCRIPTION copying REFRESH PUBLICATION")

    async def agrees(self) -> bool:
        """Whether it has the rows of its publisher."""
        there, here = await self.publisher.fetch(_ROWS), await self.here.fetch(_ROWS)
        return [tuple(row) for row in there] == [tuple(row) for row in here]

    async def has_heard(self) -> bool:
        """Whether it has applied all that has been written so far."""
        return bool(
            await self.publisher.fetchval(
                "SELECT confirmed_flush_lsn >= $1::text::pg_lsn FROM pg_replication_slots "
                "WHERE slot_name = 'copying'",
                await self.publisher.fetchval("SELECT pg_current_wal_lsn()::text"),
            )
        )


@pytest.fixture
async def subscriber(
    replicating: EmbeddedPostgres, publisher: Database
) -> AsyncIterator[Subscriber]:
    name = "subscriber_of_" + publisher.url.rsplit("/", 1)[1]
    base = replicating.url.rsplit("/", 1)[0]
    there = await asyncpg.connect(publisher.url)
    await there.execute(f"CREATE DATABASE {name}")
    here = await asyncpg.connect(f"{base}/{name}")
    await here.execute(
        "CREATE TABLE counters (key text PRIMARY KEY, count int, sum numeric(12, 2), last int)"
    )
    made = Subscriber(here, there)
    yield made
    if made.subscribes:
        await made.unsubscribe()
    await here.close()
    await there.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await there.close()


async def wrong_row(subscriber: Subscriber) -> None:
    """A row that only a rebuild puts right."""
    done = await subscriber.publisher.execute(
        "UPDATE counters SET sum = -1 WHERE key = (SELECT max(key) FROM counters)"
    )
    assert done == "UPDATE 1"
    await until(subscriber.agrees)


async def test_subscribers_of_a_schema_keep_the_old_rows_until_they_subscribe_anew(
    client: Client, publisher: Database, subscriber: Subscriber
) -> None:
    await write(publisher.engine, some())
    async with working(client, publisher, registry_of(counters())):
        await run(client, publisher, "Rebuild", "counters")
        await _those_of_all_tables_stop_at_a_table_that_they_do_not_have(
            client, publisher, subscriber
        )
        await subscriber.publisher.execute(
            "CREATE PUBLICATION published FOR TABLES IN SCHEMA public"
        )
        await subscriber.subscribe(publisher.url)
        await until(subscriber.agrees)
        await wrong_row(subscriber)
        result = await run(client, publisher, "Rebuild", "counters")
        # People are told, before the run and after it.
        assert result.note is not None
        assert "publication published is FOR TABLES IN SCHEMA" in result.note
        assert "subscribe anew" in result.note
        # Later changes do reach the subscriber; those of the swap never do.
        await write(publisher.engine, some(1, start_at=5000))
        await run(client, publisher, "Backfill", "counters", criteria="incremental_update")
        await until(subscriber.has_heard)
        await subscriber.refresh()
        await until(subscriber.has_heard)
        assert not await subscriber.agrees()
        # What limits.md says must be done.
        await subscriber.unsubscribe()
        await subscriber.here.execute("TRUNCATE counters")
        await subscriber.subscribe(publisher.url)
        await until(subscriber.agrees)
        await write(publisher.engine, some(1, start_at=6000))
        await run(client, publisher, "Backfill", "counters", criteria="incremental_update")
        await until(subscriber.agrees)


@pytest.mark.soak
async def test_subscribers_of_a_table_follow_when_it_is_taken_out_for_the_rebuild(
    client: Client, publisher: Database, subscriber: Subscriber
) -> None:
    await write(publisher.engine, some())
    async with working(client, publisher, registry_of(counters())):
        await run(client, publisher, "Rebuild", "counters")
        await subscriber.publisher.execute("CREATE PUBLICATION published FOR TABLE counters")
        await subscriber.subscribe(publisher.url)
        await until(subscriber.agrees)
        await wrong_row(subscriber)
        with pytest.raises(Exception, match="Workflow execution failed") as refused:
            await run(client, publisher, "Rebuild", "counters")
        assert "publication published: take the table out of it" in str(refused.value.__cause__)
        await subscriber.publisher.execute("ALTER PUBLICATION published DROP TABLE counters")
        await subscriber.refresh()
        await run(client, publisher, "Rebuild", "counters")
        await subscriber.publisher.execute("ALTER PUBLICATION published ADD TABLE counters")
        await subscriber.here.execute("TRUNCATE counters")
        await subscriber.refresh()
        await until(subscriber.agrees)
        await write(publisher.engine, some(1, start_at=5000))
        await run(client, publisher, "Backfill", "counters", criteria="incremental_update")
        await until(subscriber.agrees)


async def _those_of_all_tables_stop_at_a_table_that_they_do_not_have(
    client: Client, publisher: Database, subscriber: Subscriber
) -> None:
    await subscriber.publisher.execute("CREATE PUBLICATION published FOR ALL TABLES")
    result = await run(client, publisher, "Rebuild", "counters", dry_run=True)
    assert result.plan is not None
    assert "publication published is FOR ALL TABLES" in str(result.plan.note)
    with pytest.raises(asyncpg.InvalidSchemaNameError, match='schema "refold" does not exist'):
        await subscriber.subscribe(publisher.url)
    await subscriber.publisher.execute("SELECT pg_drop_replication_slot('copying')")
    await subscriber.publisher.execute("DROP PUBLICATION published")
