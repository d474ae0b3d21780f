"""Dead letters, tenants, snapshots and checkpoints of a read model of events in another table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold import Event, ProjectionManager
from refold.projection.registry import Registry
from refold.source.port.current import using
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.elsewhere import PLACES
from tests.support.letters import aside, fold_setting_aside, held, letters, mended
from tests.support.live import live
from tests.support.mapped import NOON, Log, log_of, tallies
from tests.support.odd_shape import ODD
from tests.support.runs import checkpoint, queue, rows_of, run, until, working
from tests.support.settling import session
from tests.support.store_shapes import PLAIN

pytestmark = pytest.mark.parametrize("database", PLACES, indirect=True)


@pytest.fixture
async def odd(database: Database) -> AsyncIterator[Log]:
    async with log_of(ODD, database) as log:
        with using(ODD.source(), database.events_url):
            yield log


async def written(log: Log, *new: tuple[str, Any, int]) -> None:
    """Appends events: type, key, and a number, from which the tenant comes."""
    events = []
    for kind, key, n in new:
        number = log.made
        log.made += 1
        events.append(
            Event(
                ODD.positions(number),
                f"00000000-0000-0000-0000-{n:012}",
                number + 1,
                kind,
                {"key": key, "n": n},
                {"more": [n]},
                NOON + timedelta(minutes=number),
            )
        )
    await log.insert(events)


async def test_poison_events_are_set_aside_retried_and_told_by_tenant(
    client: Client, odd: Log
) -> None:
    database = odd.database
    await written(odd, ("Added", "a", 1), ("Broken", "a", 1), ("Added", "a", 1), ("Added", "b", 2))
    # A key that does not fit, and one that is missing.
    await written(odd, ("Added", 1.5, 1), ("Added", None, 1), ("Added", "c", 2))
    projection = aside(partitions=2)
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        position = ODD.positions(1)
        assert await held(database) == {("a",): position, None: ODD.positions(4)}
        first, *_ = [one for one in await letters(database) if one.position == position]
        assert (first.type, first.stream_id) == ("Broken", odd.events[1].stream_id)
        async with live(client, database):
            await written(odd, ("Broken", "b", 2), ("Added", "b", 2), ("Added", "c", 2))
            await until(lambda: reached(odd))
        assert await rows_of(database.engine, projection) == fold_setting_aside(
            projection, odd.events
        )
        async with manager(client, database) as asked:
            counts = {
                tenant: len(await asked.get_dead_letters("counters", tenant=tenant))
                for tenant in (None, "1", "2", "9")
            }
            assert counts == {None: 3, "1": 2, "2": 1, "9": 0}
            await written(odd, ("Added", "c", 2), ("Other", "c", 2))
            health = await asked.get_health("counters", projection.event_types, tenant="2")
            assert (health.standing.lag_events, health.standing.head) == (1, ODD.positions(11))
    async with working(client, database, registry_of(mended())):
        await run(client, database, "Backfill", "counters", criteria="dead_letters")
        assert [one.key for one in await letters(database)] == [None]


async def reached(log: Log) -> bool:
    return await checkpoint(log.database.engine, aside()) == log.events[-1].position


async def test_a_snapshot_comes_back_with_the_events_since(client: Client, odd: Log) -> None:
    projection = tallies()[1]
    await odd.append(90)
    async with working(client, odd.database, Registry([projection])):
        await run(client, odd.database, "Backfill", "streams")
        await run(client, odd.database, "Snapshot", "streams")
        await odd.append(40)
        await run(client, odd.database, "Backfill", "streams", criteria="incremental_update")
        assert await odd.different(projection) == {}
        await odd.change("UPDATE streams SET sum = sum + 1000")
        back = await run(client, odd.database, "Rollback", "streams", to_generation=2)
        assert back.status == "rolled_back"
        assert await odd.different(projection) == {}
        assert await checkpoint(odd.database.engine, projection) == odd.events[-1].position


async def test_the_last_events_a_range_of_positions_and_a_tenant_name_their_keys(
    client: Client, odd: Log
) -> None:
    projection = tallies()[0]
    await odd.append(130)
    async with working(client, odd.database, Registry([projection])):
        await run(client, odd.database, "Backfill", "paths")
        for fields, chosen in (
            ({"last_n": 3, "criteria": "last_n_events"}, odd.events[-3:]),
            ({"from_position": 0, "to_position": 14}, odd.events[:3]),
            ({"from_position": odd.events[100].position}, odd.events[100:]),
            ({"to_date": odd.events[4].recorded_at.isoformat()}, odd.events[:4]),
            # The column of tenants, not the field of that name.
            ({"tenant": "2"}, [one for one in odd.events if one.metadata.get("org") == 2]),
        ):
            await odd.change("UPDATE paths SET sum = sum + 1000")
            there = {*await rows_of(odd.database.engine, projection)}
            await run(client, odd.database, "Backfill", "paths", **fields)
            repaired = {event.data["key"] for event in chosen}
            wrong = {*await odd.different(projection)}
            assert wrong == there - repaired, fields
            assert wrong, fields
            for key in wrong:
                await odd.change(f"UPDATE paths SET sum = sum - 1000 WHERE id = '{key}'")
            assert await odd.different(projection) == {}
    async with odd.database.engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM refold.events")) == 0


async def test_a_live_projection_loses_no_event_whose_position_was_drawn_first(
    client: Client, database: Database
) -> None:
    projection = tallies()[0]
    async with log_of(PLAIN, database) as log:
        with using(PLAIN.source(), database.events_url):
            async with (
                working(client, database, Registry([projection])),
                session(database) as early,
            ):
                await log.append(3)
                await run(client, database, "Backfill", "paths")
                async with live(client, database, projection="paths"):
                    await early.execute("BEGIN")
                    drawn = await early.fetchval("SELECT nextval('app_events_id_seq')")
                    await log.append(2)

                    for _ in range(10):  # it looks every twentieth of a second
                        await asyncio.sleep(0.1)
                        assert await checkpoint(database.engine, projection) < drawn
                    await early.execute(
                        "INSERT INTO app_events OVERRIDING SYSTEM VALUE VALUES "
                        "($1, 'Added', $2, gen_random_uuid(), now())",
                        *(drawn, '{"key": "early", "n": 7}'),
                    )
                    await early.execute("COMMIT")

                    async def there() -> bool:
                        return await checkpoint(database.engine, projection) > int(drawn)

                    await until(there)
                rows = await rows_of(database.engine, projection)
                assert (rows["early"]["sum"], await log.different(projection)) == (
                    7,
                    {"early": (None, rows["early"])},
                )


def manager(client: Client, database: Database) -> ProjectionManager:
    return ProjectionManager(client, database.url, task_queue=queue(database))
