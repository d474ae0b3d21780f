"""Events in another database, read by a role that may do nothing there but SELECT."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from refold import Projection, ProjectionManager
from refold.errors import ConfigurationError, EventsUnreachable
from refold.projection.key import Key
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.source.checking.check import check_events
from refold.source.port.current import OWN, use_source, using
from refold.source.port.elsewhere import reading
from refold.store import selected_keys
from tests.support.counters import counters, registry_of, siblings
from tests.support.databases import Database
from tests.support.elsewhere import ANOTHER_SERVER, SAME_SERVER
from tests.support.events import some
from tests.support.faulty_proxy import DOWN, PASS, faulty
from tests.support.letters import fold_setting_aside
from tests.support.live import live
from tests.support.runs import (
    assert_oracle,
    checkpoint,
    events_upto,
    leftovers,
    queue,
    rows_of,
    run,
    start,
    until,
    working,
    write_to,
)
from tests.support.soaking import soak

PASSWORD = "p4ssw0rd-of-the-reader"
APART = pytest.mark.parametrize("database", [ANOTHER_SERVER, *soak(SAME_SERVER)], indirect=True)


@dataclass
class Apart:
    """Read models here, events there: appended by their owner, and read by another role.

    Attributes:
        database: The read models' database.
        log: The owner's connections to the events.
        url: The reader's address of the events.
    """

    database: Database
    log: AsyncEngine
    url: str

    async def append(self, *new: tuple[str, str, dict[str, Any]]) -> None:
        """Appends events."""
        await write_to(self.log, new)

    async def spoil(self, projection: Projection) -> None:
        """Makes all rows wrong, takes some away, and puts strays between them."""
        table = projection.table.name
        async with self.database.engine.begin() as connection:
            await connection.execute(text(f"UPDATE {table} SET sum = sum + 1000"))
            await connection.execute(text(f"DELETE FROM {table} WHERE key IN ('k003', 'k017')"))
            await connection.execute(
                text(f"INSERT INTO {table} VALUES ('K005-stray', 1, 1) ON CONFLICT DO NOTHING")
            )

    async def wrong(self, projection: Projection) -> set[Key]:
        """The keys whose row is not the fold of their events, up to the checkpoint."""
        position = await checkpoint(self.database.engine, projection)
        read = await events_upto(self.database.engine, projection, position)
        expected = fold_setting_aside(projection, read)
        there = await rows_of(self.database.engine, projection)
        return {k for k in expected.keys() | there.keys() if expected.get(k) != there.get(k)}


@pytest.fixture
async def apart(database: Database) -> AsyncIterator[Apart]:
    assert database.events_url is not None
    name = database.events_url.rsplit("/", 1)[1]
    owner = await asyncpg.connect(database.events_url)
    log = make_engine(Settings(database_url=database.events_url))
    try:
        # Nobody may make temporary tables, and its transactions may write nothing.
        await owner.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
        if not await owner.fetchval("SELECT 1 FROM pg_roles WHERE rolname = 'reader'"):
            await owner.execute(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'")
            await owner.execute("ALTER ROLE reader SET default_transaction_read_only = on")
        await owner.execute(f"GRANT CONNECT ON DATABASE {name} TO reader")
        await owner.execute("GRANT USAGE ON SCHEMA refold TO reader")
        await owner.execute("GRANT SELECT ON refold.events TO reader")
        url = database.events_url.replace("//postgres@", f"//reader:{PASSWORD}@")
        with using(OWN, url):
            yield Apart(database, log, url)
    finally:
        await database.engine.dispose()
        await owner.execute("DROP OWNED BY reader")
        await owner.close()
        await log.dispose()


FEW: list[dict[str, Any]] = [{}, {"predicate": "event.data.n * 2 >= 0", "is_atomic": True}]
MORE: list[dict[str, Any]] = [
    {"from_position": 1},
    {"criteria": "last_n_events", "last_n": 120},
    {"from_date": "2026-01-01", "create_backup": True},
    {"predicate": "event.data.n >= 0"},
]


@APART
@pytest.mark.parametrize(
    ("asked", "others"),
    [(FEW, []), *soak(([*FEW, *MORE], siblings()))],
    ids=["few", "more"],
)
async def test_every_route_leads_to_the_rows_of_the_oracle(
    client: Client,
    apart: Apart,
    asked: list[dict[str, Any]],
    others: list[Projection],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With few keys at a time, so that all routes go to and fro between the servers."""
    monkeypatch.setattr(selected_keys, "AT_ONCE", 17)
    database, projection = apart.database, counters(batch_size=50, partitions=2)
    await apart.append(*some())
    async with working(client, database, registry_of(projection, *others)):
        for one in (projection, *others):
            await run(client, database, "Rebuild", one.name)
            assert len(await assert_oracle(database.engine, one)) >= 40
        for fields in asked:
            await apart.spoil(projection)
            await run(client, database, "Backfill", "counters", **fields)
            # A stray is no key of an event.
            stray = {"K005-stray"} if fields else set()
            assert await apart.wrong(projection) == stray, fields
        await apart.spoil(projection)
        chosen = {"criteria": "custom_predicate", "predicate": "event.data.key < 'k010'"}
        await run(client, database, "Backfill", "counters", **chosen)
        assert await apart.wrong(projection) == {
            "K005-stray",
            *(f"k{n:03}" for n in range(10, 40)),
        }
        await run(client, database, "Rebuild", "counters")
        async with database.engine.begin() as connection:
            await connection.execute(text("DELETE FROM counters WHERE key >= 'k020'"))
        missing = {"criteria": "incremental_update", "missing": True}
        await run(client, database, "Backfill", "counters", **missing)
        assert await apart.wrong(projection) == set()
    assert await leftovers(database.engine) == []


@APART
async def test_live_snapshot_rollback_and_tenants(client: Client, apart: Apart) -> None:
    database = apart.database
    projection = counters(on_poison="set_aside")
    await apart.append(*some(10, 3))
    async with working(client, database, registry_of(projection), tenant_path="data.key"):
        await run(client, database, "Backfill", "counters")
        await run(client, database, "Snapshot", "counters")
        async with live(client, database):
            await apart.append(*some(12, 2), ("s1", "Broken", {"key": "k001", "n": 1}))
            await until(lambda: reached(apart, projection, 55))
            # In place, while it is live.
            await run(client, database, "Backfill", "counters", from_position=40)
        manager = ProjectionManager(
            client, database.url, task_queue=queue(database), tenant_path="data.key"
        )
        async with manager:
            for tenant, letters in ((None, 1), ("k001", 1), ("k002", 0)):
                found = await manager.get_dead_letters("counters", tenant=tenant)
                assert len(found) == letters
            await apart.append(*some(3, 1))
            standing = (await manager.get_health("counters", tenant="k002")).standing
            assert (standing.head, standing.lag_events) == (58, 1)
        await run(client, database, "Rebuild", "counters")
        back = await run(client, database, "Rollback", "counters")
        assert (back.status, back.position) == ("rolled_back", 58)
        restored = await run(client, database, "Rollback", "counters", to_snapshot=30)
        assert (restored.status, restored.position) == ("rolled_back", 58)
        assert await apart.wrong(projection) == set()


async def reached(apart: Apart, projection: Projection, position: int) -> bool:
    return await checkpoint(apart.database.engine, projection) >= position


@APART
@pytest.mark.parametrize("away", ["events", *soak("models")])
@pytest.mark.parametrize("seconds", [2, *soak(10)])
async def test_a_server_that_is_away_is_waited_for_and_named(
    client: Client, apart: Apart, away: str, seconds: float
) -> None:
    projection = counters(batch_size=10, partitions=2)
    await apart.append(*some(60, 10))
    addresses = {"events": apart.url, "models": apart.database.url}
    async with faulty("sql", addresses[away].rsplit("/", 1)[0]) as (proxy, address):
        addresses[away] = f"{address}/{addresses[away].rsplit('/', 1)[1]}"
        engine = make_engine(Settings(database_url=addresses["models"]), activities=5)
        database = Database(
            apart.database.url,
            engine,
            apart.database.settings.model_copy(update={"database_url": addresses["models"]}),
        )
        with using(OWN, addresses["events"]):
            async with working(client, database, registry_of(projection)):
                request = {"projection": "counters", "events_per_second": 150}
                handle = await start(client, database, "Rebuild", request)

                async def progress() -> dict[str, Any]:
                    found: dict[str, Any] = await handle.query("progress")
                    return found

                async def at_work() -> bool:
                    return bool((await progress())["events_processed"])

                async def told() -> bool:
                    failing = (await progress())["failing"]
                    return failing is not None and (
                        away == "models"
                        or "the database of the events (127.0.0.1:" in failing["message"]
                    )

                await until(at_work)
                proxy.be(DOWN)
                await until(told)
                assert PASSWORD not in str(await progress())
                await asyncio.sleep(seconds)
                proxy.be(PASS)
                assert (await asyncio.wait_for(handle.result(), 150)).status == "completed"
                async with live(client, database):
                    await apart.append(*some(5, 1))
                    await until(lambda: reached(apart, projection, 602))
                    proxy.be(DOWN)
                    await apart.append(*some(5, 1))
                    await asyncio.sleep(seconds)
                    proxy.be(PASS)
                    await until(lambda: reached(apart, projection, 610))
        await engine.dispose()
    assert await apart.wrong(projection) == set()


@APART
async def test_what_a_session_has_not_seen_yet_is_not_taken_for_missing(apart: Apart) -> None:
    """After a failover a session may lead to a server that has not all that was settled."""
    await apart.append(*some(3, 1))
    async with apart.database.engine.connect() as connection:
        async with reading(connection, upto=3) as there, reading(there, upto=3) as same:
            assert same is there
        with pytest.raises(EventsUnreachable, match=r"up to position 3 only, and 4 was read"):
            async with reading(connection, upto=4):
                pass


@APART
async def test_who_holds_up_the_reading_of_events_is_named(client: Client, apart: Apart) -> None:
    projection = counters()
    await apart.append(*some(5, 1))
    async with (
        working(client, apart.database, registry_of(projection)),
        apart.log.connect() as other,
    ):
        await other.execute(text("LOCK TABLE refold.events"))
        handle = await start(client, apart.database, "Rebuild", {"projection": "counters"})

        async def told() -> bool:
            waiting_for = (await handle.query("progress"))["waiting_for"]
            return any("in the database of the events" in one for one in waiting_for)

        await until(told)
        await other.rollback()
        await asyncio.wait_for(handle.result(), 60)


@APART
async def test_the_check_says_where_it_has_looked(apart: Apart) -> None:
    await apart.append(*some(3, 1))
    async with apart.database.engine.connect() as connection:
        report = await check_events(connection)
    assert report.database is not None
    assert report.database.startswith("127.0.0.1:")
    assert report.database.endswith(apart.url.rsplit("/", 1)[1])
    assert (report.refused, report.head) == ([], 3)


@APART
async def test_an_address_that_cannot_work_is_refused_without_its_password(apart: Apart) -> None:
    engine = apart.database.engine
    server = apart.url.rsplit("/", 1)[0]
    for url, expected in (
        (f"{server}/no_such_database", "REFOLD_EVENTS_URL: the server refuses it"),
        (f"postgresql://reader:{PASSWORD}@127.0.0.1:1/shop", "the database of the events"),
        (f"postgresql://reader:{PASSWORD}@[broken/shop", "REFOLD_EVENTS_URL: expected"),
        (f"mysql://reader:{PASSWORD}@localhost/shop", "REFOLD_EVENTS_URL: expected"),
    ):
        with using(OWN, url):
            async with engine.connect() as connection:
                with pytest.raises((ConfigurationError, EventsUnreachable)) as refused:
                    async with reading(connection):
                        pass
                assert str(refused.value).startswith(expected), refused.value
                assert PASSWORD not in str(refused.value)


def test_a_process_reads_one_database_of_events() -> None:
    settings = Settings(
        database_url="postgresql://a/models", events_url=f"postgresql://r:{PASSWORD}@b/events"
    )
    assert PASSWORD not in repr(settings)
    with using(OWN):
        assert use_source(settings).is_own
        with pytest.raises(ConfigurationError, match="one database of events for a process"):
            use_source(settings.model_copy(update={"events_url": "postgresql://c/events"}))
