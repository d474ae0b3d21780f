"""Every type of column, by every route, whatever the database's settings: the rows of the fold."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from sqlalchemy import Column, MetaData, Table, Text, text
from temporalio.client import Client

from refold import BackfillPolicy, Event, Projection, Row, Snapshots
from refold.manager.projections import ProjectionManager
from refold.requests.poison_policy import OnPoison
from refold.store import generations
from refold.store.tables.read_models import physical
from refold.store.tables.rows import RowStore
from tests.support.columns import NEEDED, columns, fitting, handlers_rows
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.live import ended_after
from tests.support.runs import checkpoint, events_upto, queue, run, working, write

# As a database may have them; those of a session that asks for nothing else.
ODD = {
    "timezone": "'Pacific/Marquesas'",
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "'-15'",
    "bytea_output": "escape",
    "search_path": "public, pg_catalog",
    "standard_conforming_strings": "off",
    "xmloption": "document",
    "array_nulls": "off",
}


def seen(value: Any) -> str:
    """All that a handler can see of a value."""
    if isinstance(value, dict):
        return repr([(seen(name), seen(inner)) for name, inner in value.items()])
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}{[seen(inner) for inner in value]}"
    if isinstance(value, frozenset):
        return repr(sorted(map(seen, value)))
    return f"{type(value).__name__} {value!r}"


def everything(rows: Sequence[Row], *, mended: bool = False) -> Projection:
    """A projection whose events each name one of these rows; ``trace`` is what it has seen."""
    projection = Projection(
        "everything",
        table=Table(
            "every thing",
            MetaData(),
            Column("id", Text, primary_key=True),
            Column("trace", Text, nullable=False),
            *columns(),
        ),
        key="data.id",
        snapshots=Snapshots.automatic(every_n_events=5, keep_last=None),
        backfill=BackfillPolicy(
            batch_size=2, partitions=2, on_poison=OnPoison.SET_ASIDE, max_dead_letters=9
        ),
    )

    @projection.on("Set")
    def set_(row: Row | None, event: Event) -> Row:
        before = "" if row is None else seen(row)
        trace = hashlib.md5(f"{before} {event.recorded_at!r}".encode()).hexdigest()
        return {"trace": trace, **rows[event.data["n"] % len(rows)]}

    @projection.on("Kept")
    def kept(row: Row | None, event: Event) -> Row | None:
        return None if row is None else {**row, "trace": row["trace"][::-1]}

    @projection.on("Broken")
    def broken(row: Row | None, event: Event) -> Row | None:
        if not mended:
            raise ValueError("not yet")
        return row

    return projection


class Routes:
    """One database, and what its rows have been by each route."""

    def __init__(self, client: Client, database: Database, rows: Sequence[Row]) -> None:
        self._client = client
        self._database = database
        self.projection = everything(rows, mended=True)
        self._next = 0

    async def append(self, *keys: str, kind: str = "Set") -> None:
        events = []
        for key in keys:
            events.append((key, kind, {"id": key, "n": self._next}))
            self._next += 1
        await write(self._database.engine, events)

    async def check(self) -> list[str]:
        """That the rows are those of the fold; returns them as PostgreSQL writes them."""
        engine = self._database.engine
        position = await checkpoint(engine, self.projection)
        expected = self.projection.fold(await events_upto(engine, self.projection, position))
        async with engine.connect() as connection:
            active = await generations.active(connection, "everything")
            assert active is not None
            store = RowStore(physical(self.projection, active.schema_name))
            found = await store.read(connection, [*expected, "a", "b", "c", "d"])
            written = text('SELECT t::text FROM "every thing" t ORDER BY id')
            lines = list((await connection.execute(written)).scalars())
        assert found.keys() == expected.keys()
        for key, row in expected.items():
            for name, value in row.items():
                assert seen(found[key][name]) == seen(value), (key, name)
        return lines

    async def run(self, kind: str, **fields: Any) -> list[str]:
        await run(self._client, self._database, kind, "everything", **fields)
        return await self.check()


@asynccontextmanager
async def odd(database: Database) -> Any:
    """The database with odd settings, and a fresh engine for it."""
    name = database.url.rsplit("/", 1)[1]
    async with database.engine.begin() as connection:
        for needed in NEEDED:
            await connection.execute(text(needed))
        for setting, value in ODD.items():
            await connection.execute(text(f"ALTER DATABASE {name} SET {setting} = {value}"))
    await database.engine.dispose()
    yield


async def by_all_routes(client: Client, database: Database, rows: Sequence[Row]) -> None:
    """Goes all routes with some events, and compares after each."""
    routes = Routes(client, database, rows)
    broken = everything(rows)
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    # A segment of one batch: what is carried of a key goes through the database after each.
    short = {"segment_seconds": 0.001}
    async with ended_after(client, "backfill/everything", "snapshot/everything"):
        await routes.append("a", "a", "b", "a", "a", "a", "c", "a")
        async with working(client, database, registry_of(broken), **short):
            resumed = await routes.run("Rebuild")
            snapshot = await manager.create_snapshot("everything")
            await routes.append("a", "b", "d", "a", "c")
            await routes.append("a", "b", kind="Kept")
            followed = await routes.run("Backfill", criteria="incremental_update")
            # What cannot be taken holds its key, in the midst of it.
            await routes.append("b", "a", kind="Broken")
            await routes.append("b", "a", "c")
            await run(client, database, "Backfill", "everything", criteria="incremental_update")
        async with working(client, database, registry_of(routes.projection), **short):
            await manager.retry_dead_letters("everything")
            retried = await routes.check()
            oldest = (await manager.get_snapshots("everything"))[-1]
            assert oldest.kept_as == "changes"
            await manager.restore_from_snapshot("everything", position=oldest.position)
            assert await routes.check() == retried, "restored from changes"
            async with database.engine.begin() as connection:
                await connection.execute(text("""UPDATE "every thing" SET r = 7, trace = ''"""))
                await connection.execute(text("""DELETE FROM "every thing" WHERE id = 'c'"""))
            assert await routes.run("Backfill") == retried, "in place"
            assert await routes.run("Rebuild", batch_size=100) == retried, "rebuilt"
            await manager.restore_from_snapshot("everything", snapshot.generation)
            assert await routes.check() == retried, "restored"
            assert await routes.run("Rollback") == retried, "rolled back"
    assert resumed != followed


def drawn_rows(number: int) -> list[Row]:
    """A dozen rows of values for every column."""
    rows: list[Row] = []

    @seed(number)
    @settings(
        max_examples=12,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(handlers_rows)
    def draw(row: Row) -> None:
        rows.append(fitting(row))

    draw()
    return rows


async def test_all_types_by_all_routes(client: Client, database: Database) -> None:
    async with odd(database):
        await by_all_routes(client, database, drawn_rows(11))


@pytest.mark.soak
@pytest.mark.parametrize("times", range(20))
async def test_more_types_by_all_routes(client: Client, database: Database, times: int) -> None:
    number = secrets.randbelow(2**32)
    print(f"seed {number}")
    async with odd(database):
        await by_all_routes(client, database, drawn_rows(number))
