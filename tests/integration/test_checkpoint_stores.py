"""The contract of checkpoint stores: one suite, against a real server of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from refold.errors import CheckpointStoreFailed
from refold.stack.postgres import EmbeddedPostgres
from refold.store.checkpoints.address import parse_address
from refold.store.checkpoints.record import Record
from refold.store.checkpoints.stores import CheckpointStores, Kept
from tests.support.checkpoint_stores import PASSWORD, STORES, StoreServers, environment
from tests.support.databases import Database, drop_database, make_database
from tests.support.soaking import soak

FIRST = Record(5, 55, 1)
# Positions are 64 bits wide; a double cannot hold them.
LARGE = Record(2**62 + 1, 2**62 + 51, 2**40 + 1)


@pytest.fixture(scope="module")
async def database(template: EmbeddedPostgres) -> AsyncIterator[Database]:
    made = await make_database(template)
    yield made
    await drop_database(template, made)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in environment(request.param).items():
        monkeypatch.setenv(name, value)
    return str(request.param)


def opened(database: Database, address: str) -> tuple[CheckpointStores, Kept]:
    stores = CheckpointStores(database.settings.model_copy(update={"checkpoints": address}))
    return stores, stores.opened(parse_address("a test", address))


@pytest.fixture
async def kept(store: str, database: Database, store_servers: StoreServers) -> AsyncIterator[Kept]:
    stores, made = opened(database, store_servers.address(store, database.url))
    yield made
    await stores.close()


@pytest.fixture
def name() -> str:
    return f"orders.1.{uuid4().hex}"


async def test_a_record_is_read_as_it_was_written(kept: Kept, name: str) -> None:
    assert await kept.read(name) is None
    assert await kept.create(name, FIRST)
    assert await kept.read(name) == FIRST
    assert await kept.advance(name, FIRST, LARGE)
    assert await kept.read(name) == LARGE


async def test_what_is_there_is_not_made_again(kept: Kept, name: str) -> None:
    assert await kept.create(name, FIRST)
    assert not await kept.create(name, LARGE)
    assert await kept.read(name) == FIRST


async def test_position_and_fence_must_be_as_expected(kept: Kept, name: str) -> None:
    assert await kept.create(name, FIRST)
    for expected in (Record(4, 55, 1), Record(6, 55, 1), Record(5, 55, 2)):
        assert not await kept.advance(name, expected, Record(9, 99, 2)), expected
        assert await kept.read(name) == FIRST, expected


async def test_what_is_not_there_does_not_move(kept: Kept, name: str) -> None:
    assert not await kept.advance(name, FIRST, LARGE)
    assert await kept.read(name) is None


async def test_a_record_can_be_removed_twice(kept: Kept, name: str) -> None:
    assert await kept.create(name, FIRST)
    await kept.drop(name)
    assert await kept.read(name) is None
    await kept.drop(name)
    assert await kept.create(name, LARGE)


async def test_records_are_apart(kept: Kept, name: str) -> None:
    assert await kept.create(name, FIRST)
    assert await kept.create(name + ".other", LARGE)
    assert await kept.advance(name, FIRST, Record(7, 77, 1))
    assert await kept.read(name + ".other") == LARGE


@pytest.mark.parametrize("racers", [4, *soak(2, 8)])
async def test_exactly_one_of_several_advances(
    store: str, database: Database, store_servers: StoreServers, name: str, racers: int
) -> None:
    address = store_servers.address(store, database.url)
    workers = [opened(database, address) for _ in range(racers)]
    now = FIRST
    await workers[0][1].create(name, now)
    for _, kept in workers:  # connected, so that they are equally fast
        assert await kept.read(name) == now
    for number in range(20 // racers):
        tried = [Record(now.position + 1, 0, 100 * number + i) for i in range(racers)]
        won = await asyncio.gather(
            *[kept.advance(name, now, new) for (_, kept), new in zip(workers, tried, strict=True)]
        )
        assert sum(won) == 1
        now = tried[won.index(True)]
        assert await workers[-1][1].read(name) == now
    for stores, _ in workers:
        await stores.close()


async def test_a_store_that_is_down_is_said_to_fail_without_secrets(
    store: str, database: Database, store_servers: StoreServers
) -> None:
    address = store_servers.address(store, database.url)
    port = address.rsplit(":", 1)[1].partition("/")[0]
    stores, kept = opened(database, address.replace(f":{port}", ":9"))
    with pytest.raises(CheckpointStoreFailed, match="cannot read a checkpoint: ") as failed:
        await kept.read("orders.1.x")
    await stores.close()
    assert str(failed.value).startswith(f"checkpoint store {kept.address.place}: ")
    assert PASSWORD not in str(failed.value)
    assert failed.value.__cause__ is None
