"""Import of events from a file (or a generator) into the event store: all of them, or none."""

from __future__ import annotations

import asyncio
import gzip
import stat
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal

import asyncpg
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.database import raw
from refold.errors import InvalidEventFile, RefoldError
from refold.source.event_file import FileEvent, parse_line
from refold.store.schema import SCHEMA, events

_CHUNK_BYTES = 1 << 20
_MAX_LINE_BYTES = 32 << 20
_COLUMNS = ("stream_id", "version", "type", "data", "metadata", "recorded_at")

_LAST_VERSIONS = """
    SELECT stream_id, coalesce((SELECT max(version) FROM refold.events e
                                WHERE e.stream_id = asked.stream_id), 0)
    FROM unnest($1::text[]) AS asked (stream_id)
"""
_POSITION = "SELECT position FROM refold.events WHERE stream_id = $1 AND version = $2"


class UnreadableEventFile(RefoldError):
    """An event file cannot be opened, read or unpacked; nothing was imported."""

    def __init__(self, source: Path, reason: str) -> None:
        super().__init__(f"{source}: {reason}; nothing was imported")


class ImportConflict(RefoldError):
    """Another transaction wrote to the same stream at the same time; nothing was imported."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"another transaction wrote to the same streams meanwhile ({detail}); "
            "nothing was imported: import again"
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
    """

    events: int
    streams: int
    first_position: int | None
    last_position: int | None


async def import_events(
    engine: AsyncEngine,
    source: Path | Literal["-"],
    *,
    on_progress: Callable[[ImportProgress], None] | None = None,
) -> ImportResult:
    """Imports an event file in one transaction; positions follow the order of its lines.

    Args:
        engine: Of the database with the event store.
        source: NDJSON, gzipped if its name ends in ``.gz``; ``-`` for standard input.
        on_progress: Called about once per MiB of text.

    Raises:
        InvalidEventFile: A line is not an event, or its version is not the next in its stream.
        UnreadableEventFile: The file cannot be read.
        ImportConflict: Another transaction appended to one of the streams at the same time.
    """
    with _Lines.open(source) as lines:
        async with loading(engine) as loader:
            while (batch := await asyncio.to_thread(lines.next_batch)) is not None:
                await loader.add(batch)
                if on_progress:
                    on_progress(ImportProgress(lines.count, lines.bytes_read, lines.total_bytes))
            return await loader.result()


@asynccontextmanager
async def loading(engine: AsyncEngine) -> AsyncIterator[EventLoader]:
    """A transaction that adds events by COPY; leaving it normally commits.

    Raises:
        ImportConflict: Another transaction appended to one of the streams at the same time.
    """
    try:
        async with engine.begin() as connection:
            # SQLAlchemy begins the transaction with the first statement that it sees itself.
            now = await connection.scalar(select(func.now()))
            assert now is not None
            yield EventLoader(await raw(connection), now)
    except (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError) as error:
        raise ImportConflict((error.detail or str(error)).replace("\n", " ")) from error


class EventLoader:
    """Adds events to the event store in the order given, batch by batch; see `loading`.

    Keeps the last version of each stream that it has met, nothing else.
    """

    def __init__(self, connection: asyncpg.Connection[Any], now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._versions: dict[str, int] = {}
        self._events = 0
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
        records = [self._record(event) for event in batch]
        await self._connection.copy_records_to_table(
            events.name, schema_name=SCHEMA, columns=_COLUMNS, records=records
        )
        self._events += len(records)
        self._first = self._first or records[0][:2]
        self._last = records[-1][:2]

    async def result(self) -> ImportResult:
        """What has been added so far; for use within the transaction."""
        first, last = await self._position(self._first), await self._position(self._last)
        return ImportResult(self._events, len(self._versions), first, last)

    async def _look_up(self, streams: set[str]) -> None:
        if streams:
            rows = await self._connection.fetch(_LAST_VERSIONS, list(streams))
            self._versions.update((stream_id, version) for stream_id, version in rows)

    def _record(self, event: FileEvent) -> tuple[str, int, str, str, str, datetime]:
        version = self._versions[event.stream_id] + 1
        if event.version is not None and event.version != version:
            raise InvalidEventFile(
                event.line,
                f"version: expected {version}, the next of stream {event.stream_id!r}, "
                f"got {event.version}",
            )
        self._versions[event.stream_id] = version
        recorded_at = event.recorded_at or self._now
        return event.stream_id, version, event.type, event.data, event.metadata, recorded_at

    async def _position(self, event: tuple[str, int] | None) -> int | None:
        return None if event is None else await self._connection.fetchval(_POSITION, *event)


class _Counted:
    """A binary file that counts what is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.bytes_read = 0

    def read(self, size: int) -> bytes:
        block = self._file.read(size)
        self.bytes_read += len(block)
        return block

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)


class _Lines:
    """An event file, read and parsed about a MiB at a time; blocks."""

    def __init__(self, source: Path, file: IO[bytes], total_bytes: int | None) -> None:
        self.count = 0
        self.total_bytes = total_bytes
        self._source = source
        self._counted = _Counted(file)
        packed = source.suffix == ".gz"
        self._text = gzip.GzipFile(fileobj=self._counted) if packed else self._counted
        self._rest: bytes | None = b""

    @classmethod
    @contextmanager
    def open(cls, source: Path | Literal["-"]) -> Iterator[_Lines]:
        if str(source) == "-":
            yield cls(Path("standard input"), sys.stdin.buffer, None)
            return
        path = Path(source)
        try:
            file = path.open("rb")
        except OSError as error:
            raise UnreadableEventFile(path, error.strerror or str(error)) from error
        with file:
            status = path.stat()
            yield cls(path, file, status.st_size if stat.S_ISREG(status.st_mode) else None)

    @property
    def bytes_read(self) -> int:
        return self._counted.bytes_read

    def next_batch(self) -> list[FileEvent] | None:
        """The events of the next lines, none if all of those are blank; None after the last."""
        if self._rest is None:
            return None
        block = self._read()
        *lines, rest = (self._rest + block).split(b"\n")
        self._rest = rest
        if not block:
            lines, self._rest = [rest] if rest else [], None
        batch = []
        for line in lines:
            self.count += 1
            if event := parse_line(self.count, line):
                batch.append(event)
        if len(rest) > _MAX_LINE_BYTES:
            raise InvalidEventFile(self.count + 1, f"expected at most {_MAX_LINE_BYTES} bytes")
        return batch

    def _read(self) -> bytes:
        try:
            return self._text.read(_CHUNK_BYTES)
        except EOFError as error:
            raise UnreadableEventFile(self._source, "the gzip data is cut short") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise UnreadableEventFile(self._source, f"not valid gzip data: {error}") from error
        except OSError as error:
            raise UnreadableEventFile(self._source, error.strerror or str(error)) from error
