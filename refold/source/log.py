"""Appends to Refold's own table with optimistic concurrency; counts the events of any source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import WrongExpectedVersion
from refold.projection.columns import exact_json
from refold.source.appending.connections import Connection, Taken, writing
from refold.source.port.current import CHANNEL, event_source, events
from refold.source.port.elsewhere import reads_events

_VERSION = "SELECT coalesce(max(version), 0) FROM refold.events WHERE stream_id = :stream "
# In one statement, however many they are; positions follow the order.
_INSERT = """
    INSERT INTO refold.events (stream_id, version, type, data, metadata, recorded_at)
    SELECT CAST(:stream AS text), CAST(:version AS integer) + new.number, new.type,
           CAST(new.data AS jsonb), CAST(new.metadata AS jsonb), coalesce(new.recorded_at, now())
    FROM unnest(CAST(:types AS text[]), CAST(:bodies AS text[]), CAST(:metadata AS text[]),
                CAST(:times AS timestamptz[]))
        WITH ORDINALITY AS new (type, data, metadata, recorded_at, number)
    ORDER BY new.number
"""
_NOTIFY = "SELECT pg_notify(:channel , '')"


@dataclass(frozen=True)
class NewEvent:
    """An event to append; its position and version are given by the log.

    Attributes:
        type: What happened.
        data: The body, a JSON object.
        metadata: What is known about it, a JSON object.
        recorded_at: When, with time zone; None for now.
    """

    type: str
    data: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    recorded_at: datetime | None = None


async def stream_version(connection: Connection, stream_id: str) -> int:
    """The version of a stream's last event; 0 for a stream without events."""
    return int(await writing(connection).value(_VERSION, {"stream": stream_id}))


async def append(
    connection: Connection,
    stream_id: str,
    new_events: Sequence[NewEvent],
    expected_version: int | None = None,
    *,
    notify: bool = False,
) -> int:
    """Appends events to a stream of `refold.events`, in the caller's transaction.

    The caller begins the transaction and commits it: events and what was decided with them are
    there together, or not at all. When this fails, the transaction is as it was before, and may go
    on. Without a transaction, asyncpg commits these events by themselves, all or none; SQLAlchemy
    begins one.

    Args:
        connection: A connection of asyncpg, also of a pool, or an `AsyncConnection` or
            `AsyncSession` of SQLAlchemy, to the database with `refold.events`.
        stream_id: The stream; it begins with its first event.
        new_events: In order.
        expected_version: The stream's version as the caller knows it, 0 for a new stream; None
            accepts any version.
        notify: Whether live projections are woken when the transaction commits. A transaction that
            has notified cannot be prepared (``PREPARE TRANSACTION``). Without it they look every
            twentieth of a second.

    Returns:
        The stream's version after the append.

    Raises:
        WrongExpectedVersion: The stream is at another version, or another transaction appended to
            it at the same time.
        ValueError: An event holds a number that JSON does not have, or a time without time zone.
        TypeError: An event holds what is no JSON, or the connection is none of these.
    """
    writer = writing(connection)
    version = int(await writer.value(_VERSION, {"stream": stream_id}))
    if expected_version is not None and version != expected_version:
        raise WrongExpectedVersion(stream_id, expected_version, version)
    if not new_events:
        return version
    parameters = {
        "stream": stream_id,
        "version": version,
        "types": [event.type for event in new_events],
        "bodies": [_json(event.data) for event in new_events],
        "metadata": [_json(event.metadata) for event in new_events],
        "times": [_aware(event.recorded_at) for event in new_events],
    }
    try:
        async with writer.savepoint():
            await writer.value(_INSERT, parameters)
            if notify:
                await writer.value(_NOTIFY, {"channel": CHANNEL})
    except Taken:
        # The unique (stream_id, version) waited for the other transaction, which has committed. A
        # transaction with a snapshot of its own does not see what that has appended.
        actual = int(await writer.value(_VERSION, {"stream": stream_id}))
        raise WrongExpectedVersion(stream_id, version, max(actual, version + 1)) from None
    return version + len(new_events)


def _json(value: Mapping[str, Any]) -> str:
    document = exact_json.dumps(dict(value))
    if "null" in document and _has_no_number(value):
        raise ValueError("append(): expected numbers that JSON has, got NaN or infinity")
    return document


def _has_no_number(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_no_number, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_no_number, value))
    return isinstance(value, float) and not isfinite(value)


def _aware(moment: datetime | None) -> datetime | None:
    if moment is not None and moment.tzinfo is None:
        raise ValueError(f"append(): recorded_at: expected a time with time zone, got {moment}")
    return moment


@reads_events
async def count_events(
    connection: AsyncConnection,
    *,
    types: Sequence[str] | None = None,
    after: int | None = None,
    upto: int | None = None,
    since: datetime | None = None,
    among: ColumnElement[bool] | None = None,
) -> int:
    """Counts events.

    Args:
        connection: Any connection.
        types: Only these types; None for all.
        after: Only positions above this (exclusive); None for no bound.
        upto: Only positions up to this (inclusive); None for no bound.
        since: Only those recorded at this moment or later; None for no bound.
        among: Only these; None for all.
    """
    source = event_source()
    condition = events().c.position > (source.before if after is None else after)
    if types is not None:
        condition = and_(condition, events().c.type.in_(source.stored_types(types)))
    if upto is not None:
        condition = and_(condition, events().c.position <= upto)
    if since is not None:
        condition = and_(condition, events().c.recorded_at >= since)
    if among is not None:
        condition = and_(condition, among)
    counted = await connection.scalar(select(func.count()).select_from(events()).where(condition))
    assert counted is not None
    return counted
