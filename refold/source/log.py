"""Appends to Refold's own table with optimistic concurrency; counts the events of any source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
from sqlalchemy import ColumnElement, and_, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import WrongExpectedVersion
from refold.runtime.database import server_error
from refold.source.port.current import event_source, events
from refold.source.port.elsewhere import reads_events
from refold.store import schema


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


async def stream_version(connection: AsyncConnection, stream_id: str) -> int:
    """The version of a stream's last event; 0 for a stream without events."""
    own = schema.events.c
    latest = select(func.coalesce(func.max(own.version), 0)).where(own.stream_id == stream_id)
    version = await connection.scalar(latest)
    assert version is not None
    return int(version)


async def append(
    connection: AsyncConnection,
    stream_id: str,
    new_events: Sequence[NewEvent],
    *,
    expected_version: int | None = None,
) -> int:
    """Appends events to a stream of `refold.events`, in the caller's transaction.

    Args:
        connection: In a transaction; the caller commits. After an error it must be rolled back.
        stream_id: The stream; it begins with its first event.
        new_events: In order.
        expected_version: The stream's version as the caller knows it, 0 for a new stream; None
            accepts any version.

    Returns:
        The stream's version after the append.

    Raises:
        WrongExpectedVersion: The stream is at another version, or another transaction appended to
            it at the same time.
    """
    version = await stream_version(connection, stream_id)
    if expected_version is not None and version != expected_version:
        raise WrongExpectedVersion(stream_id, expected_version, version)
    rows = [
        {
            "stream_id": stream_id,
            "version": version + number,
            "type": event.type,
            "data": dict(event.data),
            "metadata": dict(event.metadata),
            "recorded_at": event.recorded_at or func.now(),
        }
        for number, event in enumerate(new_events, start=1)
    ]
    if not rows:
        return version
    try:
        async with connection.begin_nested():
            for row in rows:
                await connection.execute(insert(schema.events).values(row))
    except IntegrityError as error:
        if not isinstance(server_error(error), asyncpg.UniqueViolationError):
            raise
        # The unique (stream_id, version) waited for the other transaction, which has committed.
        actual = await stream_version(connection, stream_id)
        raise WrongExpectedVersion(stream_id, version, actual) from None
    return version + len(rows)


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
