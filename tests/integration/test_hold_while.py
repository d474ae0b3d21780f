"""`hold_while` runs what it is given, and leaves nothing of it in a session."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from refold.errors import InvalidRequest
from refold.requests.limits import Throttle
from refold.store.migrate import migrate
from refold.store.pressure import Pressure
from tests.support.databases import Database

_SESSION_STATE = {
    "advisory lock": ("pg_try_advisory_lock({lock})", True),
    "setting": ("set_config('search_path', 'pg_temp', false) IS NULL", False),
    "timeout": ("set_config('statement_timeout', '1ms', false) = '1ms'", True),
}


@pytest.mark.parametrize("what", _SESSION_STATE)
async def test_an_expression_leaves_no_session_state(database: Database, what: str) -> None:
    expression, holds = _SESSION_STATE[what]
    throttle = Throttle(hold_while=expression.format(lock=0x5EF01D))
    for _ in range(12):  # more often than the pool has connections
        assert bool(await Pressure(database.engine, throttle).reasons()) is holds
    assert await asyncio.wait_for(migrate(database.engine), 20) is False
    async with database.engine.begin() as connection:
        locks = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert await connection.scalar(locks) == 0


@pytest.mark.parametrize(
    "expression",
    [
        "nextval('refold.events_position_seq') > 0",
        "setval('refold.events_position_seq', 9) > 0",
        "lo_create(0) > 0",
    ],
)
async def test_an_expression_that_writes_is_refused(database: Database, expression: str) -> None:
    with pytest.raises(InvalidRequest, match="read-only transaction"):
        await Pressure(database.engine, Throttle(hold_while=expression)).reasons()
