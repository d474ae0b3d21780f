"""Events as they land in `refold.events`, in the order in which they are given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from refold.errors import MirrorConflict, UnreadableEvent
from refold.errors.words import described, shortened
from refold.projection.columns import exact_json
from refold.source.mirrors.protocol import MirroredEvent
from refold.store.schema import SCHEMA, events

_COLUMNS = ("stream_id", "version", "type", "data", "metadata", "recorded_at")
_MOST_VERSION = 2**31 - 1
# An escape of NUL, not the text of one.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_LONGEST_NAME = 200

_LAST_VERSIONS = """
    SELECT stream_id, coalesce((SELECT max(version) FROM refold.events e
                                WHERE e.stream_id = asked.stream_id), 0)
    FROM unnest($1::text[]) AS asked (stream_id)
"""
_POSITION = "SELECT position FROM refold.events WHERE stream_id = $1 AND version = $2"
_TAKEN = """
    SELECT e.stream_id, e.version, e.position
    FROM unnest($1::text[], $2::integer[]) WITH ORDINALITY AS asked (stream_id, version, number)
    JOIN refold.events e ON e.stream_id = asked.stream_id AND e.version = asked.version
    ORDER BY asked.number LIMIT 1
"""
_NOW = "SELECT clock_timestamp()"
# After large growth: PostgreSQL would plan by what it was, until autovacuum comes.
_HAS_GROWN = f"""
    SELECT pg_stat_get_mod_since_analyze(oid) > greatest(10000, 0.5 * reltuples)
    FROM pg_class WHERE oid = '{SCHEMA}.{events.name}'::regclass
"""
_ANALYZE = f"ANALYZE (SKIP_LOCKED) {SCHEMA}.{events.name}"

Record = tuple[str, int, str, str, str, datetime]


@dataclass(frozen=True)
class Incoming:
    """An event that PostgreSQL can store; version and time may be the log's to give."""

    stream_id: str
    version: int | None
    type: str
    data: str
    metadata: str
    recorded_at: datetime | None


def incoming(event: MirroredEvent) -> Incoming:
    """An event as it is stored.

    Raises:
        UnreadableEvent: PostgreSQL cannot store it; the message says why.
    """
    version = event.version
    if not event.type or "\0" in event.type or "\0" in event.stream_id:
        raise _unfit(event, "expected a type and a stream without NUL")
    if version is not None and not 0 <= version <= _MOST_VERSION:
        raise _unfit(event, f"expected a version from 0 to {_MOST_VERSION}, got {version}")
    if event.recorded_at is not None and event.recorded_at.tzinfo is None:
        raise _unfit(event, "expected a recorded_at with time zone")
    data, metadata = _json(event, "data"), _json(event, "metadata")
    return Incoming(event.stream_id, version, event.type, data, metadata, event.recorded_at)


def _json(event: MirroredEvent, place: str) -> str:
    value = getattr(event, place)
    if not isinstance(value, dict):
        raise _unfit(event, f"expected {place} that is an object, got {described(value)}")
    try:
        dumped = exact_json.dumped(value)
    except (TypeError, ValueError) as error:
        raise _unfit(event, f"expected {place} of JSON: {error}") from None
    if b"\\u0000" in dumped and _NUL.search(dumped):
        raise _unfit(event, f"expected {place} without NUL, which PostgreSQL does not have")
    return dumped.decode()


def _unfit(event: MirroredEvent, why: str) -> UnreadableEvent:
    stream = shortened(event.stream_id, _LONGEST_NAME)
    kind = shortened(event.type, _LONGEST_NAME)
    return UnreadableEvent(
        f"event of type {kind!r}, version {event.version} of stream {stream!r}: {why}: have the "
        "mirror's source give it otherwise, or None in its place to pass over it"
    )


async def land(connection: asyncpg.Connection[Any], arrived: Sequence[Incoming]) -> int:
    """Writes events, in the caller's transaction; returns the position of the last one.

    Args:
        connection: In a transaction.
        arrived: One or more.

    Raises:
        MirrorConflict: A stream and version come twice.
        UniqueViolationError: One is there already; see `require_free`.
    """
    records = await _numbered(connection, arrived)
    _require_once(records)
    await connection.copy_records_to_table(
        events.name, schema_name=SCHEMA, columns=_COLUMNS, records=records
    )
    position: int = await connection.fetchval(_POSITION, *records[-1][:2])
    return position


async def _numbered(
    connection: asyncpg.Connection[Any], arrived: Sequence[Incoming]
) -> list[Record]:
    unnumbered = {one.stream_id for one in arrived if one.version is None}
    versions: dict[str, int] = {}
    if unnumbered:
        versions = dict(await connection.fetch(_LAST_VERSIONS, list(unnumbered)))
    now = await connection.fetchval(_NOW)
    records = []
    for one in arrived:
        version = one.version
        if version is None:
            version = versions[one.stream_id] + 1
        if one.stream_id in versions:
            versions[one.stream_id] = max(version, versions[one.stream_id])
        at = one.recorded_at or now
        records.append((one.stream_id, version, one.type, one.data, one.metadata, at))
    return records


def _require_once(records: Sequence[Record]) -> None:
    seen: set[tuple[str, int]] = set()
    for stream_id, version, *_ in records:
        if (stream_id, version) in seen:
            raise MirrorConflict(stream_id, version, None)
        seen.add((stream_id, version))


async def require_free(connection: asyncpg.Connection[Any], arrived: Sequence[Incoming]) -> None:
    """Looks which of the streams and versions are taken.

    Versions that the log gives are never taken for good: somebody else may just have appended.

    Raises:
        MirrorConflict: One is.
    """
    numbered = [one for one in arrived if one.version is not None]
    streams, versions = [one.stream_id for one in numbered], [one.version for one in numbered]
    taken = await connection.fetchrow(_TAKEN, streams, versions)
    if taken is not None:
        raise MirrorConflict(taken["stream_id"], taken["version"], taken["position"])


async def analyze_if_grown(connection: asyncpg.Connection[Any]) -> bool:
    """Has PostgreSQL look at the events anew once most of them are new; False if it need not.

    Args:
        connection: Not in a transaction.
    """
    if not await connection.fetchval(_HAS_GROWN):
        return False
    await connection.execute(_ANALYZE)
    return True
