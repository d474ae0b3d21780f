"""A mirror on real servers: every event once and in order, paused, limited, cancelled, refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowUpdateFailedError,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError

from refold import NewEvent, append
from refold.engine.mirroring.copying import Copying
from refold.engine.step import Step
from refold.errors import (
    Fenced,
    MirrorBusy,
    MirrorConflict,
    MirrorSourceFailed,
)
from refold.messages.mirrors import MirrorLimits
from refold.projection.registry import Registry
from refold.runtime.database import own_transaction, raw
from refold.source.mirrors import MirroredEvent
from refold.source.mirrors.landing import analyze_if_grown, incoming, land
from refold.store.mirrors import cursors
from tests.support.counting import counting
from tests.support.databases import Database
from tests.support.mirrored import Feed, numbered
from tests.support.mirroring import (
    MIRRORS,
    as_landed,
    at_work,
    fresh,
    landed,
    mirror,
    progress,
    take,
    until_is,
    until_landed,
)
from tests.support.runs import until, working


@pytest.fixture
def source() -> Iterator[Feed]:
    with fresh() as feed:
        yield feed


async def test_each_event_lands_once_in_order_and_later_ones_follow(
    client: Client, database: Database, source: Feed
) -> None:
    events = [numbered(number) for number in range(95)]
    # What is passed over moves the cursor only.
    source.events = [*events[:20], None, *events[20:50], None]
    async with at_work(client, database), mirror(client, database, batch_size=7) as handle:
        await until_landed(database, 50)
        known = await until_is(handle, "live")
        assert (known.total_events, known.error) == (50, None)
        source.events += events[50:]
        await until_landed(database, 95)
        await handle.signal("cancel", "moved over")
        ended = await handle.result()
        assert (ended.status, ended.reason) == ("cancelled", "moved over")
        # Started again, it goes on where it was.
        source.events += [numbered(number) for number in range(95, 100)]
        async with mirror(client, database) as again:
            await until_landed(database, 100)
            await until_is(again, "live")
    assert await landed(database) == as_landed([numbered(number) for number in range(100)])
    async with database.engine.connect() as connection:
        (row,) = await cursors.rows(connection)
    assert (row.cursor, row.events, row.caught_up, row.lag_seconds) == ({"at": 102}, 100, True, 0.0)
    assert row.ended_at is None


async def test_it_is_paused_limited_and_resumed(
    client: Client, database: Database, source: Feed
) -> None:
    source.events = [numbered(number) for number in range(400)]
    limits = {"batch_size": 50, "events_per_second": 40}
    async with at_work(client, database), mirror(client, database, **limits) as handle:
        await until_landed(database, 10)
        # A limit of 40 a second: batches of a quarter of a second.
        assert {limit for _, limit in source.asked} == {10}
        await handle.signal("pause")
        await until_is(handle, "paused")
        stood = await landed(database)
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update("set_limits", {"max_concurrency": 2})
        changed = await handle.execute_update(
            "set_limits", {"events_per_second": 0, "batch_size": 30}
        )
        assert changed == {"batch_size": 30, "events_per_second": 0}
        assert await landed(database) == stood
        assert len(stood) < 400
        source.asked.clear()
        await handle.signal("resume")
        await until_landed(database, 400)
        assert {limit for _, limit in source.asked} == {30}
        await until_is(handle, "live")
    assert await landed(database) == as_landed([numbered(number) for number in range(400)])


async def test_a_conflict_is_final_and_copies_nothing_of_its_batch(
    client: Client, database: Database, source: Feed
) -> None:
    source.events = [numbered(number) for number in range(40)]
    async with database.engine.begin() as connection:
        await append(connection, "foreign-3", [NewEvent("Theirs", {}) for _ in range(5)])
        await connection.execute(text("DELETE FROM refold.events WHERE version < 4"))
    async with at_work(client, database), mirror(client, database, batch_size=10) as handle:
        stands = await until_is(handle, "failed")
        assert stands.error is not None
        assert stands.error.type == "MirrorConflict"
        assert "'foreign-3', version 4" in stands.error.message
        # Two whole batches, and theirs.
        assert len(await landed(database)) == 22
        async with database.engine.begin() as connection:
            await connection.execute(text("DELETE FROM refold.events WHERE type = 'Theirs'"))
        await handle.signal("resume")
        await until_landed(database, 40)
        assert (await until_is(handle, "live")).error is None
    assert await landed(database) == as_landed([numbered(number) for number in range(40)])


async def test_an_event_that_cannot_be_stored_stops_it_before_that_event(
    client: Client, database: Database, source: Feed
) -> None:
    wrong = MirroredEvent("Bad", {"text": "a\0b"}, stream_id="foreign-9", version=1)
    source.events = [*[numbered(number) for number in range(5)], wrong]
    async with at_work(client, database), mirror(client, database) as handle:
        stands = await until_is(handle, "failed")
        assert stands.error is not None
        assert stands.error.type == "UnreadableEvent"
        assert "version 1 of stream 'foreign-9'" in stands.error.message
        assert len(await landed(database)) == 5
        source.events[5] = None  # passed over, as the message says
        source.events.append(numbered(5))
        await handle.signal("resume")
        await until_landed(database, 6)


async def test_a_source_that_is_away_is_asked_again_and_said(
    client: Client, database: Database, source: Feed
) -> None:
    source.events = [numbered(number) for number in range(5)]
    source.fails = [MirrorSourceFailed("not now"), ConnectionResetError("gone")]
    async with at_work(client, database), mirror(client, database) as handle:

        async def is_said() -> bool:
            return (await progress(handle)).failing is not None

        await until(is_said)
        await until_landed(database, 5)
        assert (await until_is(handle, "live")).failing is None


async def test_versions_that_the_log_gives_go_on_after_those_of_others(
    client: Client, database: Database, source: Feed
) -> None:
    source.events = [numbered(number, version=False) for number in range(30)]
    async with database.engine.begin() as connection:
        await append(connection, "foreign-2", [NewEvent("Theirs", {}), NewEvent("Theirs", {})])
    async with at_work(client, database), mirror(client, database, batch_size=4):
        await until_landed(database, 32)
    found = await landed(database)
    assert [row[3]["number"] for row in found[2:]] == [*range(30)]
    last = {row[0]: row[1] for row in found}
    assert (last["foreign-2"], last["foreign-1"], last["foreign-3"]) == (2 + 4, 5, 4)


async def test_an_unknown_mirror_is_left_to_others_then_refused(
    client: Client, database: Database, source: Feed
) -> None:
    known = {"mirrors": MIRRORS, "deployment_seconds": 0.0}
    async with (
        working(client, database, Registry([counting]), **known),
        mirror(client, database, mirror="nobody") as handle,
    ):
        with pytest.raises(WorkflowFailureError) as raised:
            await asyncio.wait_for(handle.result(), 30)
    assert isinstance(raised.value.cause, ApplicationError)
    assert raised.value.cause.type == "UnknownMirror"
    assert "expected one of (feed), got 'nobody'" in raised.value.cause.message


async def test_a_worker_without_the_mirror_leaves_it_to_one_that_has_it(
    client: Client, database: Database, source: Feed
) -> None:
    source.events = [numbered(number) for number in range(3)]
    async with (
        working(client, database, Registry([counting])),
        mirror(client, database) as handle,
    ):

        async def is_left() -> bool:
            failing = (await progress(handle)).failing
            return failing is not None and "does not have mirror 'feed'" in failing.message

        await until(is_left)
        # Two workers of one queue are not served by one client.
        target = client.service_client.config.target_host
        another = await Client.connect(target, data_converter=pydantic_data_converter)
        async with at_work(another, database):
            await until_landed(database, 3)


# -- without Temporal: who may write ----------------------------------------------------------


async def test_an_attempt_that_was_overtaken_writes_nothing(database: Database) -> None:
    source = Feed()
    source.events = [numbered(number) for number in range(9)]
    source.wait = asyncio.Event()
    limits = MirrorLimits(batch_size=3)
    async with database.engine.connect() as one, database.engine.connect() as other:
        # It has read its first batch when the other takes the mirror over, and commits.
        zombie = Copying(one, source, await take(database), limits, Step())
        late = asyncio.create_task(zombie.copy(5))
        await asyncio.sleep(0)
        taken = await take(database)
        source.wait.set()
        with pytest.raises(Fenced):
            await late
        assert await landed(database) == []
        with pytest.raises(Fenced):
            await cursors.show(await raw(one), zombie.taken, caught_up=True)
        copied = await Copying(other, source, taken, limits, Step()).copy(0.2)
    assert copied.events == 9
    assert await landed(database) == as_landed([numbered(number) for number in range(9)])


async def test_another_installation_is_refused_until_this_one_is_silent(
    database: Database,
) -> None:
    await take(database)
    with pytest.raises(MirrorBusy, match="workflow 'mirror/feed' of namespace 'default'"):
        await take(database, installation="there")
    async with database.engine.begin() as connection:
        await connection.execute(
            text("UPDATE refold.mirrors SET seen_at = now() - interval '2 minutes'")
        )
    assert (await take(database, installation="there")).fence == 2


async def test_an_event_that_comes_twice_is_a_conflict(database: Database) -> None:
    async with database.engine.connect() as connection:
        with pytest.raises(MirrorConflict, match="twice"):
            async with own_transaction(connection) as driver:
                await land(driver, [incoming(numbered(0)), incoming(numbered(0))])


async def test_after_large_growth_postgresql_looks_anew(database: Database) -> None:
    arrived = [incoming(numbered(number)) for number in range(10_500)]
    async with database.engine.connect() as connection:
        async with own_transaction(connection) as driver:
            await land(driver, arrived[:100])
        assert not await analyze_if_grown(driver)
        async with own_transaction(connection) as driver:
            await land(driver, arrived[100:])

        async def grown() -> bool:
            return await analyze_if_grown(driver)

        await until(grown)  # what is counted is told a second later

        async def known() -> bool:
            counted = await driver.fetchval(
                "SELECT reltuples FROM pg_class WHERE oid = 'refold.events'::regclass"
            )
            return bool(counted == len(arrived))

        await until(known)  # autovacuum may be at it, and is not waited for
        assert not await analyze_if_grown(driver)
