"""Who holds a row that another needs: one that is silent is ended, one at work is waited for."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import ColumnElement, text
from sqlalchemy.exc import DBAPIError

from refold.stack.postgres import EmbeddedPostgres
from refold.store import generations, schema, takeover
from refold.store.takeover import take_over
from tests.support.databases import Database, drop_database, make_database


@pytest.fixture
async def row(database: Database, monkeypatch: pytest.MonkeyPatch) -> ColumnElement[bool]:
    """A generation's row, of which whoever takes it over loses patience soon."""
    monkeypatch.setattr(takeover, "_GRACE_SECONDS", 0.4)
    monkeypatch.setattr(takeover, "_LOOK_AGAIN_SECONDS", 0.1)
    async with database.engine.begin() as connection:
        await generations.create(
            connection,
            "counters",
            version=1,
            status=generations.ACTIVE,
            schema_name="public",
            table_name="counters",
            position=7,
        )
    return generations.row_of("counters", 1)


async def test_who_is_at_work_is_waited_for_and_who_is_silent_ended(
    database: Database, row: ColumnElement[bool]
) -> None:
    """A backup of a large table holds its checkpoint for longer than any batch."""
    async with database.engine.connect() as holder:
        await generations.hold_position(holder, "counters", 1)
        taking = asyncio.create_task(
            take_over(database.engine, schema.generations, row, spares_work=True)
        )
        await holder.execute(text("SELECT pg_sleep(1.5)"))  # copies all that time
        assert not taking.done()
        await holder.commit()
        await taking
        await generations.hold_position(holder, "counters", 1)
        await take_over(
            database.engine, schema.generations, row, spares_work=True
        )  # it says nothing meanwhile
        with pytest.raises(DBAPIError):
            await holder.execute(text("SELECT 1"))


async def test_all_who_share_it_are_ended(
    template: EmbeddedPostgres, database: Database, row: ColumnElement[bool]
) -> None:
    """The partitions of a frozen worker hold the checkpoint together."""
    elsewhere = await make_database(template)
    async with (
        database.engine.connect() as one,
        database.engine.connect() as other,
        elsewhere.engine.connect() as stranger,
    ):
        for holder in (one, other):
            await generations.hold_position(holder, "counters", 1)
        await stranger.execute(text("SELECT * FROM refold.generations FOR SHARE"))
        await asyncio.sleep(0.5)  # it is silent for as long as they are
        await asyncio.wait_for(take_over(database.engine, schema.generations, row), 10)
        for holder in (one, other):
            with pytest.raises(DBAPIError):
                await holder.execute(text("SELECT 1"))
        await stranger.execute(text("SELECT 1"))
    await drop_database(template, elsewhere)
