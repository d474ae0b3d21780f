"""Keys of single event types, by every route: rows of several kinds of streams are the fold's."""

from __future__ import annotations

import secrets
from random import Random
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold import Projection, ProjectionManager, split
from refold.projection.key import Key
from refold.projection.registry import Registry
from refold.source.port.current import using
from refold.source.samples import sample_logged_keys
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.kinds_of_streams import append_kinds, kinds_of_streams
from tests.support.letters import fold_setting_aside
from tests.support.live import ended_after, live
from tests.support.mapped import log_of, tallies
from tests.support.odd_shape import ODD
from tests.support.runs import (
    checkpoint,
    events_upto,
    last,
    queue,
    rows_of,
    run,
    until,
    working,
)
from tests.support.soaking import soak

SPOIL = "UPDATE kinds SET events = events + 1000"


class Routes:
    """One database, and what its rows have been by each route."""

    def __init__(self, client: Client, database: Database, chance: Random) -> None:
        self._client = client
        self._database = database
        self._chance = chance
        self.projection = kinds_of_streams(partitions=2)

    async def append(self, count: int = 40) -> None:
        await append_kinds(self._database, self._chance, count)

    async def check(self) -> dict[Key, Any]:
        """That the rows are those of the fold, each up to its first poison event."""
        expected, found = await self._both()
        different = {
            key: (expected.get(key), found.get(key))
            for key in expected.keys() | found.keys()
            if expected.get(key) != found.get(key)
        }
        assert not different, f"{len(different)} rows differ: {list(different.items())[:3]}"
        return found

    async def run(self, kind: str, **fields: Any) -> Any:
        done = await run(self._client, self._database, kind, "kinds", **fields)
        await self.check()
        return done

    async def repaired_by(self, **fields: Any) -> set[Key]:
        """Which rows a run mends when all are wrong."""
        async with self._database.engine.begin() as connection:
            await connection.execute(text(SPOIL))
        await run(self._client, self._database, "Backfill", "kinds", **fields)
        return await self.right()

    async def right(self) -> set[Key]:
        """The keys of the rows that are those of the fold."""
        expected, found = await self._both()
        assert found.keys() == expected.keys()
        return {key for key in expected if found[key] == expected[key]}

    async def _both(self) -> tuple[dict[Key, Any], dict[Key, Any]]:
        read = await events_upto(self._database.engine, self.projection, await self.reached())
        expected = fold_setting_aside(self.projection, read)
        return expected, await rows_of(self._database.engine, self.projection)

    async def reached(self) -> int:
        return await checkpoint(self._database.engine, self.projection)

    async def named(self, **matching: Any) -> set[Key]:
        """The keys that have a row and that certain events name."""
        there = await rows_of(self._database.engine, self.projection)
        read = await events_upto(self._database.engine, self.projection)
        keys: set[Key] = set()
        for event in read:
            if all(getattr(event, name) == value for name, value in matching.items()):
                keys |= {*keys_of(self.projection, event)}
        return keys & there.keys()


def keys_of(projection: Any, event: Any) -> list[Key]:
    try:
        found: list[Key] = projection.rows.keys_of(event)
        return found
    except Exception:
        return []


async def by_all_routes(client: Client, database: Database, chance: Random) -> None:
    """Goes all routes with random events, and compares after each."""
    routes = Routes(client, database, chance)
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    # A segment of one batch: what is carried of a key goes through the database after each.
    short = {"segment_seconds": 0.001}
    async with ended_after(client, "backfill/kinds", "snapshot/kinds"):
        await routes.append(150)
        async with working(client, database, registry_of(routes.projection), **short):
            await routes.run("Rebuild")
            assert await letters(manager), "keys that do not fit, and events that are poison"
            await routes.append()
            await routes.run("Backfill", criteria="incremental_update")
            snapshot = await manager.create_snapshot("kinds")
            await routes.append()
            async with live(client, database, projection="kinds"):
                await until(lambda: reached(database, routes))
            await routes.check()
            await manager.restore_from_snapshot("kinds", snapshot.generation)
            await routes.check()
            await routes.run("Rollback")
            oldest = (await manager.get_snapshots("kinds"))[-1]
            assert oldest.kept_as == "changes"
            await manager.restore_from_snapshot("kinds", position=oldest.position)
            await routes.check()

            invoices = 'event.type == "InvoiceIssued"'
            named = await routes.named(type="InvoiceIssued")
            plan = await manager.plan("Backfill", "kinds", predicate=invoices)
            assert plan.foretold is not None
            assert (plan.foretold.added, plan.foretold.removed, plan.foretold.changed) == (0, 0, 0)
            assert 10 < plan.foretold.keys <= (plan.selected_keys or 0)
            assert await routes.repaired_by(predicate=invoices) == named
            # What SQL cannot decide is judged in Python.
            notes = 'size(event.stream_id) > 5 && event.type == "Noted"'
            named = await routes.named(type="Noted")
            assert await routes.repaired_by(predicate=notes) == named

            wrong = len((await routes.named()) - await routes.right())
            assert wrong
            await routes.run("Rebuild")
            diff = await client.get_workflow_handle(f"Rebuild/{queue(database)}").query("diff")
            assert (diff["changed"], diff["added"], diff["removed"]) == (wrong, 0, 0)
            assert diff["folded_again"] > 10
            assert diff["folded_wrong"] == 0
        routes.projection = kinds_of_streams(mended=True, partitions=2)
        async with working(client, database, registry_of(routes.projection), **short):
            await manager.retry_dead_letters("kinds")
            await routes.check()
            assert all(one.key is None for one in await letters(manager)), "misfits stay"


async def letters(manager: ProjectionManager) -> list[Any]:
    return list(await manager.get_dead_letters("kinds"))


async def reached(database: Database, routes: Routes) -> bool:
    return await routes.reached() == await last(database)


@pytest.mark.parametrize("number", [5, *soak(*[None] * 20)])
async def test_kinds_of_streams_by_all_routes(
    client: Client, database: Database, number: int | None
) -> None:
    number = secrets.randbelow(2**32) if number is None else number
    print(f"seed {number}")
    await by_all_routes(client, database, Random(number))


async def test_keys_are_drawn_and_cut_alike(database: Database) -> None:
    projection = kinds_of_streams()
    await append_kinds(database, Random(3), 200)
    read = await events_upto(database.engine, projection)
    keys = {key for event in read for key in keys_of(projection, event)}
    async with database.engine.connect() as connection:
        drawn = await sample_logged_keys(connection, projection, upto=10**6, count=1000)
    assert {*drawn} == keys


async def test_types_are_constants_as_another_table_stores_them(
    client: Client, database: Database
) -> None:
    projection = tallies()[0]
    made = Projection("paths", table=projection.table, key="data.key")
    made.on("Added")(projection.handlers["Added"])
    made.on("Noted", key=split("stream_id", "-", -1))(projection.handlers["Noted"])
    async with log_of(ODD, database) as log:
        with using(ODD.source()):
            await log.append(90)
            async with working(client, database, Registry([made])):
                await run(client, database, "Rebuild", "paths")
                assert await log.different(made) == {}
                await log.execute("UPDATE paths SET sum = sum + 1000")
                await run(client, database, "Backfill", "paths", predicate='event.type == "Noted"')
                there = await rows_of(database.engine, made)
                noted = {key for e in log.events if e.type == "Noted" for key in keys_of(made, e)}
                assert noted
                assert {*await log.different(made)} == {*there} - noted
