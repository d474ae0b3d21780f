"""What mirrors copy from: KurrentDB as its client sees it, and events that need decoding."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import grpc
import pytest

from refold import mirrors
from refold.engine.mirroring.copying import Copying
from refold.engine.step import Step
from refold.errors import ConfigurationError, MirrorSourceFailed, UnreadableEvent
from refold.messages.mirrors import MirrorLimits
from refold.source.mirrors.named import NamedMirrors
from refold.source.mirrors.protocol import MirroredEvent, MirrorSource
from tests.support.databases import Database
from tests.support.kurrent_server import Kurrent, address, served
from tests.support.mapped import log_of
from tests.support.mirrored import NOON
from tests.support.mirroring import landed, take
from tests.support.runs import until
from tests.support.store_shapes import AXON_4, COMPRESSED, MESSAGE_DB


async def copied(database: Database, source: MirrorSource, upto: int = 0) -> list[tuple[Any, ...]]:
    """Copies what there is, as a mirror does, until there are so many; what the log then has."""
    async with database.engine.connect() as connection:

        async def enough() -> bool:
            taken = await take(database)
            limits = MirrorLimits(batch_size=3)
            await Copying(connection, source, taken, limits, Step()).copy(0.2)
            return len(await landed(database)) >= upto

        await until(enough, 20)
    return await landed(database)


async def read_all(source: MirrorSource, limit: int) -> list[MirroredEvent]:
    after, found = None, []
    while given := await source.read(after, limit):
        after = given[-1][0]
        found += [event for _, event in given if event is not None]
    return found


# -- KurrentDB ---------------------------------------------------------------------------------


@pytest.fixture
async def kurrent() -> AsyncIterator[tuple[Kurrent, MirrorSource]]:
    url, port = address()
    server = Kurrent()
    async with served(server, port):
        yield server, mirrors.kurrentdb(url)


async def test_kurrentdb_is_copied_but_for_its_own(
    database: Database, kurrent: tuple[Kurrent, MirrorSource]
) -> None:
    server, source = kurrent
    first = server.add("order-1", "OrderPlaced", {"total": 12.5}, {"$correlationId": "c1"})
    server.add("$ce-order", "$>", b"0@order-1", content_type="text/plain")
    server.add("$settings", "Settings", {})
    server.add("order-2", "OrderPlaced", b'{"total": 12345678901234567890.25}')
    server.add("order-1", "OrderPaid", {}, {"event_id": "theirs"})
    server.add("$stats-0.0.0.0", "$statsCollected", {})
    assert await copied(database, source, 3) == [
        (
            *("order-1", 1, "OrderPlaced", {"total": 12.5}),
            *({"$correlationId": "c1", "event_id": str(first.id)}, NOON),
        ),
        (
            *("order-2", 1, "OrderPlaced", {"total": Decimal("12345678901234567890.25")}),
            *({"event_id": str(server.log[3].id)}, NOON),
        ),
        ("order-1", 2, "OrderPaid", {}, {"event_id": "theirs"}, NOON),
    ]

    # The cursor passes what is KurrentDB's own, and another attempt goes on from there.
    async def goes_on_at_the_end() -> bool:
        server.asked.clear()
        await copied(database, source)
        return server.asked[0][0] == server.log[-1].commit

    await until(goes_on_at_the_end, 20)
    server.add("order-2", "OrderPaid", {})
    assert len(await copied(database, source, 4)) == 4


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
async def test_what_was_committed_as_one_is_never_cut(
    kurrent: tuple[Kurrent, MirrorSource], limit: int
) -> None:
    server, source = kurrent
    for number in range(4):
        server.add("a", "One", {"n": number})
    for number in range(4, 11):  # one transaction: its events have its commit position
        server.add("b", "Two", {"n": number}, commit=server.log[3].prepare + 7 * 137 + 5)
    server.add("a", "One", {"n": 11})
    found = await read_all(source, limit)
    assert [event.data["n"] for event in found] == [*range(12)]


async def test_a_lost_connection_passes_and_loses_nothing(database: Database) -> None:
    url, port = address()
    server, source = Kurrent(), mirrors.kurrentdb(url)
    for number in range(9):
        server.add("a", "One", {"n": number})

    async def is_back() -> bool:
        with suppress(MirrorSourceFailed):  # its client tries again now and then
            return len(await source.read(None, 5)) == 5
        return False

    async with served(server, port):
        await until(is_back, 20)
        server.breaks_after = 2
        with pytest.raises(MirrorSourceFailed):
            await source.read(None, 5)
        assert server.breaks_after is None
    with pytest.raises(MirrorSourceFailed):
        await source.read(None, 5)
    async with served(server, port):
        await until(is_back, 20)
        assert [row[3]["n"] for row in await copied(database, source, 9)] == [*range(9)]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, ConfigurationError),
        (grpc.StatusCode.PERMISSION_DENIED, ConfigurationError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, MirrorSourceFailed),
        (grpc.StatusCode.INTERNAL, MirrorSourceFailed),
    ],
)
async def test_what_the_server_refuses_is_final_what_it_cannot_now_is_not(
    kurrent: tuple[Kurrent, MirrorSource], status: grpc.StatusCode, expected: type[Exception]
) -> None:
    server, source = kurrent
    server.add("a", "One", {})
    server.refuses = [status] * 5
    with pytest.raises(expected):
        await source.read(None, 5)


async def test_what_is_no_json_stops_at_its_place_unless_it_is_decoded(
    kurrent: tuple[Kurrent, MirrorSource],
) -> None:
    server, source = kurrent
    good = server.add("a", "One", {"n": 0})
    server.add("a", "Packed", b"\x80\x01", content_type="application/octet-stream")
    assert [cursor for cursor, _ in await source.read(None, 5)] == [good.commit]
    with pytest.raises(UnreadableEvent, match=r"event 1 of stream 'a' at commit position .*Packed"):
        await source.read(good.commit, 5)
    server.log.pop()
    server.add("a", "Listed", [1])
    with pytest.raises(UnreadableEvent, match="expected data that is an object, got a list of 1"):
        await source.read(good.commit, 5)
    with pytest.raises(ConfigurationError, match="another source before"):
        await source.read("elsewhere", 5)


# -- events that need decoding -----------------------------------------------------------------


async def test_compressed_events_land_as_json(database: Database) -> None:
    async with log_of(COMPRESSED, database) as log:
        source = mirrors.event_source(COMPRESSED.source(), url=database.url)
        await log.append(20)
        first = await copied(database, source, 20)
        await log.append(15)
        found = await copied(database, source, 35)
    assert (len(first), found[:20]) == (20, first)
    assert found == [
        (e.stream_id, e.version, e.type, e.data, e.metadata, e.recorded_at) for e in log.events
    ]


async def test_versions_from_0_land_from_1_and_the_head_is_settled(database: Database) -> None:
    async with log_of(MESSAGE_DB, database) as log:
        source = mirrors.event_source(MESSAGE_DB.source(), url=database.url, first_version=0)
        await log.append(10)
        async with database.engine.connect() as open_writer:
            await open_writer.exec_driver_sql(
                "INSERT INTO message_store.messages (position, stream_name, type, data) "
                "VALUES (0, 'order-late', 'Added', '{}')"
            )
            await log.append(10)
            # What may still commit is waited for.
            before = await copied(database, source)
            await open_writer.commit()
        found = await copied(database, source, 21)
    assert len(before) < 20
    assert (len(found), found[: len(before)]) == (21, before)
    assert {row[1] for row in found if row[0] == "order-late"} == {1}
    assert min(row[1] for row in found) == 1


# -- by name -----------------------------------------------------------------------------------


def test_a_name_stands_after_the_colon() -> None:
    named = NamedMirrors(["tests.support.mirrored:feed", "tests.support.mirrored:stretch"])
    assert named.get("feed") is named.get("feed")
    with pytest.raises(ConfigurationError, match="different names"):
        NamedMirrors(["a:feed", "b:feed"])
    for place, why in (
        ("tests.support.mirrored:NOON", "which is datetime"),
        ("tests.support.nowhere:feed", "No module named"),
        ("tests.support.mirrored:nothing", "no attribute"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            NamedMirrors([place]).get(place.partition(":")[2])


def test_a_source_whose_events_may_be_late_is_not_copied() -> None:
    with pytest.raises(ConfigurationError, match="settles by Patience: a late event would have"):
        mirrors.event_source(AXON_4.source())
