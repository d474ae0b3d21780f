"""Table `refold.system_events`: what happened to each projection, numbered without gaps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import Text, bindparam, delete, func, insert, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.messages.recorded_event import RecordedEvent
from refold.runtime.database import storable
from refold.store.schema import system_event_counters, system_events
from refold.system_events.events import SystemEvent
from refold.system_events.known import own_fields

_LONGEST_KEY = 500

_COLUMNS = (
    system_events.c.projection,
    system_events.c.number,
    system_events.c.type,
    system_events.c.data,
    system_events.c.correlation_id,
    system_events.c.recorded_at,
)


async def record(
    connection: AsyncConnection,
    event: SystemEvent,
    *,
    key: str | None = None,
    run_id: str | None = None,
) -> bool:
    """Records an event, in the caller's transaction.

    It belongs at the transaction's end: until the transaction ends, nothing else is recorded of
    the projection. That is what puts its events in order.

    Args:
        connection: In a transaction.
        event: What happened.
        key: Recorded before under this key, it is not recorded again; None for always.
        run_id: The run that it is about.

    Returns:
        False when it had been recorded before.
    """
    if key is None:
        await connection.execute(_RECORD, _values(event, run_id))
        return True
    key = _short(key)
    statement = upsert(system_event_counters).values(projection=event.projection, last=1)
    counted = statement.on_conflict_do_update(
        index_elements=[system_event_counters.c.projection],
        set_={"last": system_event_counters.c.last + 1},
    ).returning(system_event_counters.c.last)
    if await _is_known(connection, event.projection, key):
        return False
    async with connection.begin_nested() as savepoint:
        number = await connection.scalar(counted)
        # Now that others wait: somebody may have been faster.
        if await _is_known(connection, event.projection, key):
            await savepoint.rollback()
            return False
        await connection.execute(
            insert(system_events).values(**_values(event, run_id), number=number, key=key)
        )
    return True


def awaiting_key(run_id: str) -> str:
    """Under which it is recorded that a run awaits approval."""
    return f"{run_id}/awaiting approval"


def _values(event: SystemEvent, run_id: str | None) -> dict[str, Any]:
    return {
        "projection": event.projection,
        "type": type(event).__name__,
        "data": storable(own_fields(event)),
        "correlation_id": storable(event.correlation_id),
        "run_id": run_id,
    }


# One round trip, as a live projection may record many.
_RECORD = text(
    """
    WITH counted AS (
        INSERT INTO refold.system_event_counters AS c (projection, last) VALUES (:projection, 1)
        ON CONFLICT (projection) DO UPDATE SET last = c.last + 1 RETURNING last)
    INSERT INTO refold.system_events (projection, number, type, data, correlation_id, run_id)
    SELECT :projection, last, :type, :data, :correlation_id, :run_id FROM counted
    """
).bindparams(
    bindparam("projection", type_=Text),
    bindparam("type", type_=Text),
    bindparam("data", type_=JSONB),
    bindparam("correlation_id", type_=Text),
    bindparam("run_id", type_=Text),
)


def _short(key: str) -> str:
    """A key that an index can hold: people may send any in a signal."""
    fits = len(key) <= _LONGEST_KEY and storable(key) == key
    return key if fits else sha256(key.encode(errors="replace")).hexdigest()


async def _is_known(connection: AsyncConnection, projection: str, key: str) -> bool:
    known = select(system_events.c.number).where(
        system_events.c.projection == projection, system_events.c.key == key
    )
    return await connection.scalar(known) is not None


async def get(connection: AsyncConnection, projection: str, number: int) -> RecordedEvent | None:
    """One event."""
    statement = select(*_COLUMNS).where(
        system_events.c.projection == projection, system_events.c.number == number
    )
    row = (await connection.execute(statement)).first()
    return None if row is None else RecordedEvent(**row._mapping)


async def latest(
    connection: AsyncConnection, projection: str | None, *, limit: int, after: int = 0
) -> list[RecordedEvent]:
    """The latest events, the oldest of them first.

    Args:
        connection: Any connection.
        projection: Whose; None for all projections', by the time of recording.
        limit: How many at most.
        after: Only numbers above this (exclusive).
    """
    statement = select(*_COLUMNS).where(system_events.c.number > after).limit(limit)
    if projection is None:
        statement = statement.order_by(
            system_events.c.recorded_at.desc(), system_events.c.number.desc()
        )
    else:
        statement = statement.where(system_events.c.projection == projection)
        statement = statement.order_by(system_events.c.number.desc())
    rows = (await connection.execute(statement)).all()
    return [RecordedEvent(**row._mapping) for row in reversed(rows)]


async def latest_of_run(
    connection: AsyncConnection, projection: str, run_id: str, event_type: str
) -> RecordedEvent | None:
    """The latest event of a type that a run has recorded."""
    statement = (
        select(*_COLUMNS)
        .where(
            system_events.c.projection == projection,
            system_events.c.run_id == run_id,
            system_events.c.type == event_type,
        )
        .order_by(system_events.c.number.desc())
        .limit(1)
    )
    row = (await connection.execute(statement)).first()
    return None if row is None else RecordedEvent(**row._mapping)


async def lasts(connection: AsyncConnection) -> dict[str, int]:
    """The number of the last event of each projection that has any."""
    statement = select(system_event_counters.c.projection, system_event_counters.c.last)
    return {row.projection: row.last for row in await connection.execute(statement)}


async def next_of_types(
    connection: AsyncConnection,
    projection: str,
    types: Sequence[str],
    *,
    after: int,
    limit: int,
) -> list[int]:
    """The numbers of the next events of some types, ascending."""
    statement = (
        select(system_events.c.number)
        .where(
            system_events.c.projection == projection,
            system_events.c.number > after,
            system_events.c.type.in_(types),
        )
        .order_by(system_events.c.number)
        .limit(limit)
    )
    return list((await connection.execute(statement)).scalars())


async def prune(connection: AsyncConnection, older_than: timedelta) -> int:
    """Deletes old events, whether or not every handler has been given them. Returns how many."""
    old = system_events.c.recorded_at < func.now() - older_than
    return (await connection.execute(delete(system_events).where(old))).rowcount
