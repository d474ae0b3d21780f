"""Imports events from a file (or a generator) into the event store: all of them, or none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import asyncpg
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.errors import InvalidEventFile, RefoldError
from refold.runtime.database import raw
from refold.source.files.analysis import analyzed
from refold.source.files.event_file import FileEvent
from refold.source.files.event_lines import EventLines
from refold.source.files.existing_events import require_same
from refold.source.files.imports import Import, record, refuse_known
from refold.store.schema import SCHEMA, events

_COLUMNS = ("stream_id", "version", "type", "data", "metadata", "recorded_at")

_LAST_VERSIONS = """
    SELECT stream_id, coalesce((SELECT max(version) FROM refold.events e
                                WHERE e.stream_id = asked.stream_id), 0)
    FROM unnest($1::text[]) AS asked (stream_id)
"""
_POSITION = "SELECT position FROM refold.events WHERE stream_id = $1 AND version = $2"


class ImportConflict(RefoldError):
    """Another transaction wrote to the same stream at the same time; nothing was imported."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"another transaction wrote to the same streams meanwhile ({detail}); "
            "nothing was imported: import again"
        )


class UnexpectedVersion(InvalidEventFile):
    """An event's version is not the next in its stream; nothing was imported."""

    def __init__(self, event: FileEvent, expected: int) -> None:
        super().__init__(
            event.line,
            f"version: expected {expected}, the next of stream {event.stream_id!r}, "
            f"got {event.version}",
        )


@dataclass(frozen=True)
class ImportProgress:
    """How far an import is; nothing is visible to others before its end.

    Attributes:
        lines: Lines read, blank ones too.
        bytes_read: Bytes read from the file as it is stored (compressed for ``.gz``).
        total_bytes: The file's size; None where it is unknown (standard input, pipes).
    """

    lines: int
    bytes_read: int
    total_bytes: int | None


@dataclass(frozen=True)
class ImportResult:
    """What an import added.

    Attributes:
        events: How many events.
        streams: How many streams they belong to.
        first_position: The first event's position; None without events.
        last_position: The last event's position (inclusive); None without events. Others may have
            appended in between.
        skipped: How many events were passed over, because the event store had them already.
        is_unanalyzed: Whether there were so many that the table's statistics must be made anew, and
            that failed: ``ANALYZE refold.events`` is to be run by somebody who may.
    """

    events: int
    streams: int
    first_position: int | None
    last_position: int | None
    skipped: int = 0
    is_unanalyzed: bool = False


async def import_events(
    engine: AsyncEngine,
    source: Path | Literal["-"],
    *,
    again: bool = False,
    skip_existing: bool = False,
    on_progress: Callable[[ImportProgress], None] | None = None,
) -> ImportResult:
    """Imports an event file in one transaction; positions follow the order of its lines.

    The same transaction records the file's content. A file whose content was imported before is
    refused. After many events the table is analyzed, so that it is read fast at once.

    Args:
        engine: Of the database with the event store.
        source: NDJSON, gzipped if its name ends in ``.gz``; ``-`` for standard input.
        again: Imports a file even if its content was imported before. Events with versions still
            need to be the next in their streams.
        skip_existing: Passes over events whose stream has their version already, with the same
            content. Events without a version are added, unless the file was imported before.
        on_progress: Called about once per MiB of text.

    Raises:
        AlreadyImported: The file's content was imported before.
        InvalidEventFile: A line is not an event, or its version is not the next in its stream.
        UnreadableEventFile: The file cannot be read.
        ImportConflict: Another transaction appended to one of the streams at the same time.
    """
    with EventLines.open(source) as lines:
        async with loading(engine, skip_existing=skip_existing) as loader:
            try:
                while (batch := await asyncio.to_thread(lines.next_batch)) is not None:
                    await loader.add(batch)
                    if on_progress:
                        on_progress(
                            ImportProgress(lines.count, lines.bytes_read, lines.total_bytes)
                        )
            except UnexpectedVersion:
                # Of a file that was imported before, this is what is noticed first.
                if not again and await asyncio.to_thread(lines.skip_rest):
                    await loader.refuse_known(lines.digest, lines.name)
                raise
            if loader.unversioned and not again:
                await loader.refuse_known(lines.digest, lines.name)
            result = await loader.finished(lines.digest, lines.name)
    return replace(result, is_unanalyzed=not await analyzed(engine, result.events))


@asynccontextmanager
async def loading(
    engine: AsyncEngine, *, skip_existing: bool = False
) -> AsyncIterator[EventLoader]:
    """A transaction that adds events by COPY; leaving it normally commits.

    Args:
        engine: Of the database with the event store.
        skip_existing: See `import_events`.

    Raises:
        ImportConflict: Another transaction appended to one of the streams at the same time.
    """
    try:
        async with engine.begin() as connection:
            # SQLAlchemy begins the transaction with the first statement that it sees itself.
            now = await connection.scalar(select(func.now()))
            assert now is not None
            yield EventLoader(await raw(connection), now, skip_existing=skip_existing)
    except (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError) as error:
        raise ImportConflict((error.detail or str(error)).replace("\n", " ")) from error


class EventLoader:
    """Adds events to the event store in the order given, batch by batch; see `loading`.

    Keeps the last version of each stream that it has met, nothing else.
    """

    def __init__(
        self, connection: asyncpg.Connection[Any], now: datetime, *, skip_existing: bool = False
    ) -> None:
        self.unversioned = 0
        self._connection = connection
        self._now = now
        self._skip_existing = skip_existing
        self._versions: dict[str, int] = {}
        self._streams: set[str] = set()
        self._events = 0
        self._skipped = 0
        self._first: tuple[str, int] | None = None
        self._last: tuple[str, int] | None = None

    async def add(self, batch: Sequence[FileEvent]) -> None:
        """Gives the events their versions and copies them into the table.

        Raises:
            InvalidEventFile: A version is not the next in its stream.
        """
        if not batch:
            return
        await self._look_up({event.stream_id for event in batch} - self._versions.keys())
        known: list[tuple[FileEvent, int]] = []
        records = []
        for event in batch:
            last = self._versions[event.stream_id]
            if self._skip_existing and event.version is not None and event.version <= last:
                known.append((event, event.version))
            else:
                records.append(self._record(event, last + 1))
        await self._connection.copy_records_to_table(
            events.name, schema_name=SCHEMA, columns=_COLUMNS, records=records
        )
        # After the copy: a file may hold an event twice.
        await require_same(self._connection, known)
        self._skipped += len(known)
        if records:
            self._events += len(records)
            self._first = self._first or records[0][:2]
            self._last = records[-1][:2]

    async def refuse_known(self, digest: str, name: str) -> None:
        """Refuses a file whose content was imported before.

        Raises:
            AlreadyImported: It was.
        """
        await refuse_known(self._connection, digest, name)

    async def finished(self, digest: str, name: str) -> ImportResult:
        """Records a file's import with what it added, and returns the `result`."""
        result = await self.result()
        if result.events:
            first, last = result.first_position, result.last_position
            await record(self._connection, Import(digest, name, result.events, first, last))
        return result

    async def result(self) -> ImportResult:
        """What has been added so far; for use within the transaction."""
        first, last = await self._position(self._first), await self._position(self._last)
        return ImportResult(self._events, len(self._streams), first, last, self._skipped)

    async def _look_up(self, streams: set[str]) -> None:
        if streams:
            rows = await self._connection.fetch(_LAST_VERSIONS, list(streams))
            self._versions.update((stream_id, version) for stream_id, version in rows)

    def _record(self, event: FileEvent, version: int) -> tuple[str, int, str, str, str, datetime]:
        if event.version is None:
            self.unversioned += 1
        elif event.version != version:
            raise UnexpectedVersion(event, version)
        self._versions[event.stream_id] = version
        self._streams.add(event.stream_id)
        recorded_at = event.recorded_at or self._now
        return event.stream_id, version, event.type, event.data, event.metadata, recorded_at

    async def _position(self, event: tuple[str, int] | None) -> int | None:
        return None if event is None else await self._connection.fetchval(_POSITION, *event)
