"""Table `refold.system_events`: what happened to each projection, numbered without gaps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import Text, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
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
    values = _values(event, run_id)
    if key is None:
        await connection.execute(_RECORD, values)
        return True
    values["key"] = _short(key)
    counted, number = (await connection.execute(_RECORD_ONCE, values)).one()
    if counted is not None and number is None:
        # Somebody was faster while this one waited for its number, which is given back.
        await connection.execute(_GIVE_BACK, {"projection": event.projection})
    return number is not None


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


_COUNTED = """
    INSERT INTO refold.system_event_counters AS c (projection, last) {first}
    ON CONFLICT (projection) DO UPDATE SET last = c.last + 1 RETURNING last
"""
_GIVEN = (
    bindparam("projection", type_=Text),
    bindparam("type", type_=Text),
    bindparam("data", type_=JSONB),
    bindparam("correlation_id", type_=Text),
    bindparam("run_id", type_=Text),
)

# One round trip, as a live projection may record many.
_RECORD = text(
    f"""
    WITH counted AS ({_COUNTED.format(first="VALUES (:projection, 1)")})
    INSERT INTO refold.system_events (projection, number, type, data, correlation_id, run_id)
    SELECT :projection, last, :type, :data, :correlation_id, :run_id FROM counted
    """
).bindparams(*_GIVEN)

_UNLESS_KNOWN = """
    SELECT :projection, 1 WHERE NOT EXISTS (
        SELECT FROM refold.system_events WHERE projection = :projection AND key = :key)
"""
# The number that was counted, if any, and the one that was recorded. They differ where another
# transaction has recorded the same since this statement began.
_RECORD_ONCE = text(
    f"""
    WITH counted AS ({_COUNTED.format(first=_UNLESS_KNOWN)}), recorded AS (
        INSERT INTO refold.system_events
            (projection, number, type, data, correlation_id, run_id, key)
        SELECT :projection, last, :type, :data, :correlation_id, :run_id, :key FROM counted
        ON CONFLICT (projection, key) DO NOTHING RETURNING number)
    SELECT (SELECT last FROM counted), (SELECT number FROM recorded)
    """
).bindparams(*_GIVEN, bindparam("key", type_=Text))

_GIVE_BACK = text(
    "UPDATE refold.system_event_counters SET last = last - 1 WHERE projection = :projection"
)


def _short(key: str) -> str:
    """A key that an index can hold: people may send any in a signal."""
    fits = len(key) <= _LONGEST_KEY and storable(key) == key
    return key if fits else sha256(key.encode(errors="replace")).hexdigest()


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
