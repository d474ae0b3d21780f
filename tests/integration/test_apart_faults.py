"""Stores of checkpoints that fail: rows are right, and people hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold.errors import CheckpointStoreFailed, Fenced
from refold.messages.live import LiveHealth
from refold.store.checkpoints.record import Record
from refold.store.checkpoints.stores import CheckpointStores
from tests.support.apart import Following
from tests.support.checkpoint_stores import COSMOS_KEY, PASSWORD, STORES, cosmosdb_server
from tests.support.counters import registry_of
from tests.support.counting import counted_events
from tests.support.databases import Database
from tests.support.events import some
from tests.support.faulty_proxy import (
    DOWN,
    ERRORS,
    PASS,
    SILENT,
    SLOW,
    FaultyProxy,
    bound,
    faulty,
    port_of,
)
from tests.support.histories import all_kept
from tests.support.live import Live, live, until_position
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import assert_oracle, last, run, start, until, working, write
from tests.support.soaking import soak
from tests.support.stored import Stored, apart, appending


async def until_said(handle: Live, place: str) -> str:
    """Waits until health says that a store fails, and where or how; what it says."""
    said = ""

    async def says() -> bool:
        nonlocal said
        failing = (await handle.query("health", result_type=LiveHealth)).failing
        said = "" if failing is None else str(failing)
        return "checkpoint store " in said and place in said

    await until(says)
    return said


async def until_well(handle: Live) -> None:
    """Waits until nothing fails, and the projection is live."""

    async def well() -> bool:
        health = await handle.query("health", result_type=LiveHealth)
        return health.failing is None and health.status in ("live", "catching_up")

    await until(well)


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize(
    ("store", "seconds"), [("redis", 1.0), *soak(*[(store, 10.0) for store in STORES])]
)
async def test_a_store_that_fails_is_heard_of_and_rows_stay_right(  # noqa: PLR0917
    client: Client,
    database: Database,
    stored: Stored,
    tmp_path: Path,
    store: str,
    seconds: float,
) -> None:
    projection = apart(store)
    async with behind_proxy(stored, store, tmp_path) as (proxy, address):
        stored.settings[f"{store}_url"] = address
        async with (
            working(client, database, registry_of(projection), **stored.settings),
            live(client, database) as handle,
        ):
            await stored.until_away(store)
            place = (await stored.active()).away
            assert place is not None
            async with appending(database):
                # To find out that nobody answers takes seconds, several times.
                for fault in [DOWN, ERRORS] + ([SILENT] if seconds > 5 else []):
                    proxy.be(fault)
                    said = await until_said(handle, place["place"])
                    assert said.startswith("following fails and is tried again")
                    await asyncio.sleep(seconds)
                    proxy.be(PASS)
                    await until_well(handle)
                await _slow(proxy, stored)
            await until_position(database, await last(database))
            await assert_oracle(database.engine, projection)


@asynccontextmanager
async def behind_proxy(
    stored: Stored, store: str, directory: Path
) -> AsyncIterator[tuple[FaultyProxy, str]]:
    """A proxy before a store, and the store's address by way of it."""
    if store == "cosmosdb":  # its clients go where the server sends them
        own = bound()
        with cosmosdb_server(directory, told=port_of(own)) as address:
            async with faulty(store, address, own) as found:
                yield found
        return
    async with faulty(store, stored.of(store)[f"{store}_url"]) as found:
        yield found


async def _slow(proxy: FaultyProxy, stored: Stored) -> None:
    """Goes on though each answer takes most of a second: it is followed, only slower."""
    before = (await stored.active()).position or 0
    proxy.be(SLOW)

    async def moves() -> bool:
        async with stored.database.engine.connect() as connection:
            moved = await connection.scalar(
                text("SELECT count(*) FROM refold.generations WHERE position > :before + 20"),
                {"before": before},
            )
        return bool(moved)

    await until(moves)
    proxy.be(PASS)


@pytest.mark.usefixtures("counters_built")
async def test_of_two_workers_one_follows(
    database: Database, client: Client, stored: Stored
) -> None:
    projection = apart("redis")
    settings = database.settings.model_copy(update=stored.of("redis"))
    await write(database.engine, some(start_at=3))
    followings = [Following(database.engine, projection, settings) for _ in range(2)]
    # Whoever is overtaken finds out, in the database or in the store, and changes nothing more.
    for _ in range(3):
        await write(database.engine, some(each=2, start_at=7))
        ended = await asyncio.gather(
            *[one.catch_up() for one in followings], return_exceptions=True
        )
        assert {type(one) for one in ended} <= {int, Fenced}
        assert await followings[0].catch_up() == await last(database)
        await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built")
async def test_a_worker_that_comes_back_from_the_dead_moves_nothing(
    client: Client, database: Database, stored: Stored
) -> None:
    projection = apart("redis")
    settings = database.settings.model_copy(update=stored.of("redis"))
    dead = Following(database.engine, projection, settings)
    async with dead.taken() as (follower, record), database.engine.connect() as connection:
        assert record is not None
        await write(database.engine, some(start_at=3))
        await follower.commit_batch(connection, await last(database))
        position = await Following(database.engine, projection, settings).catch_up()
        with pytest.raises(Fenced, match="another attempt has moved it"):
            await record.moved(follower.position)
        with pytest.raises(Fenced, match="another attempt has moved it"):
            await follower.commit_batch(connection, await last(database))
    async with stored.record() as (_, _, now):
        assert now is not None
        assert now.position == position == await last(database)
    await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built")
async def test_a_run_waits_for_a_store_that_is_down_and_says_so(
    client: Client, database: Database, stored: Stored
) -> None:
    projection = apart("redis")
    async with faulty("redis", stored.of("redis")["redis_url"]) as (proxy, address):
        stored.settings["redis_url"] = address
        settings = database.settings.model_copy(update=stored.settings)
        async with working(client, database, registry_of(projection), **stored.settings):
            await Following(database.engine, projection, settings).catch_up()
            proxy.be(DOWN)
            handle = await start(client, database, "Backfill", {"projection": "counters"})

            async def says() -> bool:
                failing = (await handle.query("progress"))["failing"]
                return failing is not None and "checkpoint store redis://" in failing["message"]

            await until(says)
            proxy.be(PASS)
            assert (await asyncio.wait_for(handle.result(), 60)).status == "completed"
            assert (await stored.active()).away is None
            await assert_oracle(database.engine, projection)


@pytest.mark.parametrize("store", ["redis", *soak("sql", "dynamodb", "cosmosdb")])
async def test_passwords_of_stores_stay_where_they_are_set(
    client: Client, database: Database, stored: Stored, tmp_path: Path, store: str
) -> None:
    await write(database.engine, counted_events(3))
    wrong = "wr0ng-p4ssword"
    async with behind_proxy(stored, store, tmp_path) as (proxy, plain):
        # PostgreSQL takes any here; of the others, what has one in its address has it already.
        address = plain.replace("//postgres@", f"//postgres:{PASSWORD}@")
        environment = worker_environment(
            client,
            database,
            REFOLD_PROJECTIONS="tests.support.counting",
            REFOLD_CHECKPOINTS=address,
        )
        async with live(client, database, projection="counting") as handle:
            with worker_processes(environment, tmp_path) as workers:
                worker = workers.start()
                await run(client, database, "Rebuild", "counting")

                async def followed() -> bool:
                    async with database.engine.connect() as connection:
                        found = await connection.scalar(
                            text("SELECT count(*) FROM refold.generations WHERE away IS NOT NULL")
                        )
                    return bool(found)

                await until(followed, 120)
                proxy.be(DOWN)
                said = await until_said(handle, address.split("?", maxsplit=1)[0].split("@")[-1])
                if store == "redis":
                    await worker.terminate()
                    proxy.be(PASS)
                    workers.environment["REFOLD_CHECKPOINTS"] = address.replace(PASSWORD, wrong)
                    worker = workers.start()
                    said = await until_said(handle, "AuthenticationError")
                await worker.terminate()
                places = {"histories": await all_kept(client), "log": workers.output.encode()}
    async with database.engine.connect() as connection:
        tables = await connection.execute(
            text(
                "SELECT relname FROM pg_class WHERE relnamespace = 'refold'::regnamespace "
                "AND relkind = 'r'"
            )
        )
        for table in tables.scalars().all():
            rows = await connection.execute(text(f"SELECT t::text FROM refold.{table} t"))
            places[f"refold.{table}"] = "\n".join(rows.scalars()).encode()
    # That something was looked at at all.
    words = said.rpartition("cannot ")[2].partition(" ")[0].encode()
    assert words in places["histories"]
    assert b"checkpoint store" in places["log"]
    assert address.partition("://")[0].encode() in places["refold.generations"]
    secrets = [PASSWORD, wrong, COSMOS_KEY]
    leaked = [
        place
        for place, content in places.items()
        for secret in secrets
        if secret.encode() in content
    ]
    assert leaked == []


async def test_an_answer_that_is_late_is_an_error_not_a_wait_without_end(
    database: Database, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.store.checkpoints.stores.ANSWER_SECONDS", 1.0)
    async with faulty("redis", stored.of("redis")["redis_url"]) as (proxy, address):
        stored.settings["redis_url"] = address
        settings = database.settings.model_copy(update=stored.settings)
        stores = CheckpointStores(settings)
        kept = stores.at("redis", address.replace(f":{PASSWORD}@", ""))
        proxy.be(SILENT)
        with pytest.raises(CheckpointStoreFailed, match="no answer within 1 s"):
            await kept.create("late", Record(1, 2, 3))
        await stores.close()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("mongodb://me:s3cr3t@host/db", "REFOLD_CHECKPOINTS: expected the address of a checkpoint"),
        ("dynamodb://table?key=s3cr3t", "REFOLD_CHECKPOINTS: expected no options but region"),
    ],
)
async def test_a_worker_with_an_address_that_is_none_ends_at_once(
    client: Client, database: Database, tmp_path: Path, address: str, said: str
) -> None:
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.counting",
        REFOLD_CHECKPOINTS=address,
        REFOLD_DATABASE_URL="postgresql://nobody@127.0.0.1:9/nowhere",
    )
    with worker_processes(environment, tmp_path) as workers:
        worker = workers.start()
        assert await worker.ended() == 1
    assert said in workers.output
    assert "s3cr3t" not in workers.output
