"""Who holds a row that another needs: one that is silent is ended, one at work is waited for."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import ColumnElement, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.errors import MissingRight
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.stack.postgres import EmbeddedPostgres
from refold.store import generations, schema
from refold.store.sessions import takeover
from refold.store.sessions.takeover import take_over
from tests.support.databases import Database, drop_database, make_database


@pytest.fixture
async def row(database: Database, monkeypatch: pytest.MonkeyPatch) -> ColumnElement[bool]:
    """A generation's row; the one that takes it over loses patience soon."""
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


async def test_of_several_rows_each_holder_is_ended(
    database: Database, row: ColumnElement[bool]
) -> None:
    async with database.engine.begin() as connection:
        for number in range(2, 6):
            await connection.execute(
                insert(schema.runs).values(
                    run_id=f"r{number}", projection="p", kind="k", workflow_id="w", request={}
                )
            )
    rows = schema.runs.c.projection == "p"
    for number in (5, 2):
        async with database.engine.connect() as holder:
            one = select(schema.runs.c.run_id).where(schema.runs.c.run_id == f"r{number}")
            await holder.execute(one.with_for_update())
            await asyncio.wait_for(take_over(database.engine, schema.runs, rows), 20)
            with pytest.raises(DBAPIError):
                await holder.execute(text("SELECT 1"))


_ROLES = [
    "DROP ROLE IF EXISTS {name}",
    "CREATE ROLE {name} LOGIN NOSUPERUSER",
    "GRANT pg_read_all_data, pg_write_all_data TO {name}",
]


async def as_role(database: Database, name: str, *statements: str) -> AsyncEngine:
    """An engine of a role that is no superuser."""
    async with database.engine.begin() as connection:
        for statement in (*_ROLES, *statements):
            await connection.exec_driver_sql(statement.format(name=name))
    url = database.url.replace("//postgres@", f"//{name}@")
    return make_engine(Settings(database_url=url))


async def test_a_role_that_was_set_ends_sessions_of_the_one_that_logged_in(
    database: Database, row: ColumnElement[bool]
) -> None:
    await execute(database, *(one.format(name="refold_owner") for one in _ROLES))
    engine = await as_role(
        database,
        "refold_login",
        "ALTER ROLE {name} NOINHERIT",
        "REVOKE pg_read_all_data, pg_write_all_data FROM {name}",
        "GRANT refold_owner TO {name}",
        "ALTER ROLE {name} SET role = refold_owner",
    )
    try:
        for spares_work in (False, True):
            async with engine.connect() as holder:
                await generations.hold_position(holder, "counters", 1)
                taking = take_over(engine, schema.generations, row, spares_work=spares_work)
                await asyncio.wait_for(taking, 20)
                with pytest.raises(DBAPIError):
                    await holder.execute(text("SELECT 1"))
    finally:
        await engine.dispose()


async def test_the_right_to_end_sessions_of_another_role_is_named(
    database: Database, row: ColumnElement[bool]
) -> None:
    one, other = await as_role(database, "refold_one"), await as_role(database, "refold_other")
    try:
        for spares_work in (False, True):
            async with one.connect() as holder:
                await generations.hold_position(holder, "counters", 1)
                taking = take_over(other, schema.generations, row, spares_work=spares_work)
                with pytest.raises(MissingRight) as missing:
                    await asyncio.wait_for(taking, 20)
                cure = str(missing.value).split(", or ")[1]
                assert cure == "GRANT refold_one TO refold_other"
                await execute(database, cure)
                await asyncio.wait_for(
                    take_over(other, schema.generations, row, spares_work=spares_work), 20
                )
                await execute(database, "REVOKE refold_one FROM refold_other")
                with pytest.raises(DBAPIError):
                    await holder.execute(text("SELECT 1"))
    finally:
        await one.dispose()
        await other.dispose()


async def execute(database: Database, *statements: str) -> None:
    async with database.engine.begin() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)
