"""Who holds a row that another needs: one that is silent is ended, one at work is waited for."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from refold.store import generations, schema, takeover
from refold.store.takeover import take_over
from tests.support.databases import Database


async def test_who_is_at_work_is_waited_for_and_who_is_silent_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup of a large table holds its checkpoint for longer than any batch."""
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
    row = generations.row_of("counters", 1)
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
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partitions of a frozen worker hold the checkpoint together."""
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
    row = generations.row_of("counters", 1)
    async with database.engine.connect() as one, database.engine.connect() as other:
        for holder in (one, other):
            await generations.hold_position(holder, "counters", 1)
        await asyncio.wait_for(take_over(database.engine, schema.generations, row), 10)
        for holder in (one, other):
            with pytest.raises(DBAPIError):
                await holder.execute(text("SELECT 1"))
