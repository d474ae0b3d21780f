"""Remembers which event files were imported, so that none is added twice by mistake."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import Any

import asyncpg

from refold.errors import RefoldError

_EARLIER = """
    SELECT name, events, first_position, last_position, imported_at
    FROM refold.imports i WHERE digest = $1
        AND EXISTS (SELECT FROM refold.events e WHERE e.position = i.first_position)
    ORDER BY id DESC LIMIT 1
"""
_RECORD = """
    INSERT INTO refold.imports (digest, name, events, first_position, last_position)
    VALUES ($1, $2, $3, $4, $5)
"""
_SHOWN_CHARACTERS = 200


class AlreadyImported(RefoldError):
    """An event file with this very content was imported before; nothing was imported."""

    def __init__(self, name: str, earlier: str) -> None:
        super().__init__(
            f"{name}: expected events that were not imported before, got the same content as "
            f"{earlier}; nothing was imported. --again adds events without versions once more, "
            "--skip-existing passes over those with versions"
        )


@dataclass(frozen=True)
class Import:
    """What one import added to the event store.

    Attributes:
        digest: SHA-256 of the file's content, unpacked, in hexadecimal.
        name: The file's name, without its directory.
        events: How many events it added, at least 1.
        first_position: The first event's position.
        last_position: The last event's position (inclusive).
    """

    digest: str
    name: str
    events: int
    first_position: int | None
    last_position: int | None


async def refuse_known(connection: asyncpg.Connection[Any], digest: str, name: str) -> None:
    """Compares a file with all that were imported.

    Two imports of one file at the same time cannot both pass: they write the same versions of the
    same streams. An import whose events are gone, as after TRUNCATE, does not count.

    Raises:
        AlreadyImported: One of them had the same content.
    """
    found = await connection.fetchrow(_EARLIER, digest)
    if found is None:
        return
    at = found["imported_at"].astimezone(UTC)
    events = "1 event" if found["events"] == 1 else f"{found['events']:,} events"
    raise AlreadyImported(
        name,
        f"{found['name']}, {events}, positions {found['first_position']:,} to "
        f"{found['last_position']:,}, at {at:%Y-%m-%d %H:%M:%S} UTC",
    )


async def record(connection: asyncpg.Connection[Any], made: Import) -> None:
    """Remembers an import, in the transaction of the import itself."""
    await connection.execute(
        _RECORD,
        made.digest,
        made.name[:_SHOWN_CHARACTERS],
        made.events,
        made.first_position,
        made.last_position,
    )
