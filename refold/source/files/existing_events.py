"""Checks events of a file that the event store has already: they must be the very same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from refold.errors import InvalidEventFile
from refold.source.files.event_file import FileEvent

# As jsonb, so that neither the order of fields nor spaces make a difference.
_DIFFERENCES = """
    SELECT asked.number, e.position IS NULL AS missing, array_remove(ARRAY[
        CASE WHEN e.type <> asked.type THEN 'type' END,
        CASE WHEN e.data <> asked.data::jsonb THEN 'data' END,
        CASE WHEN e.metadata <> asked.metadata::jsonb THEN 'metadata' END,
        CASE WHEN e.recorded_at <> asked.recorded_at THEN 'recorded_at' END], NULL) AS fields
    FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
        WITH ORDINALITY AS asked (stream_id, version, type, data, metadata, recorded_at, number)
    LEFT JOIN refold.events e ON e.stream_id = asked.stream_id AND e.version = asked.version
    WHERE e.position IS NULL OR e.type <> asked.type OR e.data <> asked.data::jsonb
        OR e.metadata <> asked.metadata::jsonb OR e.recorded_at <> asked.recorded_at
    ORDER BY asked.number LIMIT 1
"""


async def require_same(
    connection: asyncpg.Connection[Any], known: Sequence[tuple[FileEvent, int]]
) -> None:
    """Compares events with those that the store has under their stream and version.

    A time that the file leaves out is the same as any.

    Args:
        connection: Of the database with the event store.
        known: Events, each with its version, which is at most its stream's last.

    Raises:
        InvalidEventFile: The store has another event there, or none.
    """
    if not known:
        return
    found = await connection.fetchrow(
        _DIFFERENCES,
        [event.stream_id for event, _ in known],
        [version for _, version in known],
        [event.type for event, _ in known],
        [event.data for event, _ in known],
        [event.metadata for event, _ in known],
        [event.recorded_at for event, _ in known],
    )
    if found is None:
        return
    event, version = known[found["number"] - 1]
    got = "no event" if found["missing"] else f"one with other {', '.join(found['fields'])}"
    raise InvalidEventFile(
        event.line,
        "expected the very event that the event store has already, to skip it; as version "
        f"{version} stream {event.stream_id!r} has {got}",
    )
