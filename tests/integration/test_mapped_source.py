"""Events in a table of an application's own: every route leads to the same rows as the oracle."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold.source.port.current import using
from refold.source.port.sampling import sampled
from refold.source.slices import key_bounds
from tests.support.databases import Database
from tests.support.elsewhere import PLACES
from tests.support.live import live
from tests.support.mapped import NOON, Log, log_of, registry, tallies
from tests.support.odd_shape import ODD
from tests.support.runs import checkpoint, run, until, working

pytestmark = pytest.mark.parametrize("database", PLACES, indirect=True)

NAMES = ["paths", "streams", "texts", "functions"]


@pytest.fixture
async def odd(database: Database) -> AsyncIterator[Log]:
    async with log_of(ODD, database) as log:
        with using(ODD.source(), database.events_url):
            yield log


async def same(log: Log, *names: str) -> None:
    for projection in tallies():
        if projection.name in (names or NAMES):
            assert await log.different(projection) == {}, projection.name


async def corrupt(log: Log, name: str) -> None:
    await log.change(f"UPDATE {name} SET sum = sum + 1000")


async def test_every_route_leads_to_the_rows_of_the_oracle(client: Client, odd: Log) -> None:
    database = odd.database
    await odd.append(160)
    async with working(client, database, registry()):
        for name in NAMES:
            await run(client, database, "Rebuild", name)
        await same(odd)
        # Repairs in place: by date, and by predicates that SQL decides wholly, partly, not at all.
        predicates = (
            ("paths", "event.type == 'Added' || event.type in ['Removed', 'Noted']"),
            ("streams", "event.type.startsWith('Added') || event.type.endsWith('ed')"),
            (
                "paths",
                "event.data.n >= -99 && event.metadata.tenant != 'x'"
                " || !has(event.metadata.tenant)",
            ),
            ("texts", "event.position >= 0 && event.version >= 0 && event.stream_id != ''"),
        )
        for name, fields in (
            ("paths", {"from_date": NOON.isoformat()}),
            *((name, {"predicate": predicate}) for name, predicate in predicates),
        ):
            await corrupt(odd, name)
            await run(client, database, "Backfill", name, **fields)
            await same(odd, name)
        async with live(client, database, projection="paths"):
            await odd.append(60)
            await until(lambda: reached(odd, 0))
            await same(odd, "paths")
        before = await checkpoint(database.engine, tallies()[0])
        await run(client, database, "Rebuild", "paths")
        await odd.append(10)
        back = await run(client, database, "Rollback", "paths")
        assert back.status == "rolled_back"
        assert back.position is not None
        assert back.position > before
        await same(odd, "paths")


async def reached(log: Log, number: int) -> bool:
    position = await checkpoint(log.database.engine, tallies()[number])
    return position == log.events[-1].position


async def test_the_event_at_position_0_is_followed(client: Client, odd: Log) -> None:
    await odd.execute('DELETE FROM odd."Log"')
    async with working(client, odd.database, registry()):
        for name in ("paths", "functions"):
            await run(client, odd.database, "Rebuild", name)
            assert await checkpoint(odd.database.engine, registry().get(name)) == -1
        async with live(client, odd.database, projection="paths"):
            await odd.append(1)
            assert odd.events[0].position == 0
            await until(lambda: reached(odd, 0))
            await same(odd, "paths")


async def test_an_event_that_is_no_json_is_named_on_every_route(client: Client, odd: Log) -> None:
    await odd.append(30)
    await odd.execute("""UPDATE odd."Log" SET body = '{"key": ' WHERE n = 70""")
    async with working(client, odd.database, registry()):
        for name in NAMES:
            with pytest.raises(Exception) as failed:  # noqa: PT011
                await run(client, odd.database, "Rebuild", name)
            assert "event 70: " in str(failed.value.__cause__), name


async def test_samples_are_drawn_from_pages_of_the_table(odd: Log) -> None:
    await odd.append(3000)
    async with odd.database.log.connect() as connection:
        _, whole = await sampled(connection, upto=10**16, size=500)
        assert whole  # nobody has counted the rows
        await connection.execute(text('ANALYZE odd."Log"'))
        relation, whole = await sampled(connection, upto=10**16, size=500)
        assert not whole
        assert "TABLESAMPLE" in str(relation.element)
        bounds = await key_bounds(connection, tallies()[0], upto=10**16, slices=4)
        assert len(bounds) == 4
