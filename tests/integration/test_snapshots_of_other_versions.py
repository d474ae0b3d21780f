"""Snapshots that another version takes, by its `restore`; and those that cannot be restored."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, Integer, MetaData, Numeric, Table, Text
from temporalio.client import Client

from refold import Event, Projection, Row, Snapshots
from refold.projection.registry import Registry
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.frozen import failure
from tests.support.runs import assert_oracle, events_upto, leftovers, run, start, working, write
from tests.support.snapshots import assert_all_kept, filled, kept_positions, kept_snapshots
from tests.support.versions import doubled

INCREMENTAL = {"criteria": "incremental_update"}


def _create(row: dict[str, Any]) -> dict[str, Any]:
    return {"times": row["count"], "total": row["sum"], "latest": row["last"]}


def _restore(kept: dict[str, Any]) -> dict[str, Any]:
    return {"times": kept["times"], "sum": Decimal(kept["total"]), "last": kept["latest"]}


def renamed() -> Projection:
    """Version 2 of `counters`: ``count`` is called ``times``."""
    old = counters()
    columns: list[Column[Any]] = [
        Column("key", Text, primary_key=True),
        Column("times", BigInteger, nullable=False),
        Column("sum", Numeric(12, 2), nullable=False),
        Column("last", Integer),
    ]
    table = Table("counters", MetaData(), *columns)
    new = Projection("counters", version=2, table=table, key="data.key")

    @new.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        before = row and {"count": row["times"], "sum": row["sum"], "last": row["last"]}
        after = old.handlers["Added"](before, event)
        assert after is not None
        return {"times": after["count"], "sum": after["sum"], "last": after["last"]}

    new.on("Removed")(old.handlers["Removed"])
    return new


@pytest.mark.parametrize(
    "beside",
    [
        pytest.param(False, id="alone"),
        pytest.param(True, id="beside version 1", marks=pytest.mark.soak),
    ],
)
@pytest.mark.usefixtures("counters_built")
async def test_another_version_takes_what_create_has_kept(
    client: Client, database: Database, beside: bool
) -> None:
    old = counters(batch_size=20)
    old.with_snapshots(Snapshots.automatic(every_n_events=50, create=_create))
    new = renamed().with_snapshots(Snapshots.none(restore=_restore))
    more = [("s1", "Removed", {"key": "k001"}), *some(keys=45, each=2, start_at=3)]
    async with working(client, database, registry_of(old)):
        await write(database.engine, more)
        await run(client, database, "Backfill", "counters", **INCREMENTAL)
        await run(client, database, "Backfill", "counters")
        assert await assert_all_kept(database, old) == [200, 250]
    for snapshot in await kept_snapshots(database):
        assert snapshot.has_json
        rows, _ = await filled(database, new, snapshot)
        assert rows == new.fold(await events_upto(database.engine, new, snapshot.position))
    registry = Registry([old, new]) if beside else registry_of(new)
    named = {"as_version": 2} if beside else {}
    async with working(client, database, registry):
        back = await run(client, database, "Rollback", "counters", to_snapshot=200, **named)
        assert (back.status, back.events_processed) == ("rolled_back", 91)
        assert "made by version 1 and taken by version 2" in (back.note or "")
        await assert_oracle(database.engine, new)
    assert await leftovers(database.engine) == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"to_snapshot": 199}, "the position of a snapshot of 'counters' (200"),
    ({"to_snapshot": 200, "as_version": 2}, "without create="),
    ({"to_snapshot": 200, "as_version": 9}, "a registered version of 'counters' (1, 2), got 9"),
    ({"to_snapshot": 200, "to_generation": 1}, "expected one of to_generation, to_version and"),
    ({"as_version": 2}, "as_version: expected with to_snapshot only"),
]


async def test_what_cannot_be_restored_is_refused(client: Client, database: Database) -> None:
    old = counters().with_snapshots(Snapshots.automatic(every_n_events=50))
    await write(database.engine, some())
    async with working(client, database, registry_of(old)):
        await run(client, database, "Rebuild", "counters")
    async with working(client, database, Registry([old, doubled()])):
        for asked, expected in REFUSED:
            request = {"projection": "counters", **asked}
            handle = await start(client, database, "Rollback", request)
            assert expected in (await failure(handle)).message
            assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_create_that_makes_no_json_stops_the_projection_and_says_so(
    client: Client, database: Database
) -> None:
    policy = Snapshots.automatic(every_n_events=300, create=lambda row: {"odd": object()})
    projection = counters().with_snapshots(policy)
    async with working(client, database, registry_of(projection)):
        await write(database.engine, some(each=3))
        request = {"projection": "counters", **INCREMENTAL}
        failed = await failure(await start(client, database, "Backfill", request))
        assert failed.type == "SnapshotRejected"
        assert "a value that JSON cannot hold: object: mend it" in failed.message
    assert await kept_positions(database) == []
    await assert_oracle(database.engine, projection)
