"""The events of an `EventSource`, for those that a read model cannot follow in place.

Such as compressed or encrypted ones: copied, they are JSON that SQL can see into.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.errors import ConfigurationError, UnreadableEvent
from refold.errors.words import described
from refold.projection.columns import exact_json
from refold.runtime.database import autocommit, compiled, make_engine, own_transaction
from refold.runtime.settings import load_settings
from refold.runtime.threads import in_thread
from refold.source.head import SettledHead
from refold.source.mirrors.protocol import Cursor, MirroredEvent, MirrorSource, readable
from refold.source.port.event_source import EventSource
from refold.source.settled.patience import patience_of

_MOST_BYTES = 8 << 20
_AT_ONCE = 100


def event_source(
    source: EventSource, *, url: str | None = None, first_version: int = 1
) -> MirrorSource:
    """The events of a table, join or select of PostgreSQL, up to its settled head.

    The cursor is the position. Where the source has no versions, events get the next one of their
    stream.

    Args:
        source: Where they are; `decode` and all else that it says is done before they are copied.
        url: The database that they are in; None for that of REFOLD_DATABASE_URL.
        first_version: The version that the first event of a stream has there, 0 or 1; it becomes 1.

    Raises:
        ConfigurationError: The source is Refold's own table, or events may appear below its head.
    """
    if source.is_own:
        raise ConfigurationError(
            "mirrors.event_source: expected a table of an application's own, got refold.events, "
            "which is what is copied into"
        )
    if patience_of(source) is not None:
        raise ConfigurationError(
            f"mirrors.event_source: expected a source whose events appear in order, got "
            f"{source!r}, which settles by Patience: a late event would have no place in the copy. "
            "Follow it in place, or have it draw positions one by one (CACHE 1, allocationSize = "
            "1) and use Locks"
        )
    return _OfEvents(source, url, first_version)


class _OfEvents:
    def __init__(self, source: EventSource, url: str | None, first_version: int) -> None:
        self._source = source
        self._url = url
        self._more = 1 - first_version
        self._head = SettledHead(source=source)
        self._looking = asyncio.Lock()
        self._engine: AsyncEngine | None = None

    def __repr__(self) -> str:
        return f"mirrors.event_source({self._source!r})"

    async def read(
        self, after: Cursor | None, limit: int
    ) -> Sequence[tuple[Cursor, MirroredEvent | None]]:
        """See `MirrorSource`."""
        position = self._source.before if after is None else _position(after)
        looking = autocommit(self._connected())
        # A zombie may look, too: two looks at a time would mix up who is waited for.
        async with self._looking, looking.connect() as connection:
            head = await self._head.poll(connection)
        if head <= position:
            return []
        async with (
            self._connected().connect() as connection,
            own_transaction(connection) as driver,
        ):
            texts = await self._texts(driver, position, head, limit)
        # In the threads of people's code: decoding takes as long as it takes.
        return await in_thread(readable, texts, self._event)

    async def _texts(
        self, driver: asyncpg.Connection[Any], after: int, upto: int, limit: int
    ) -> list[str]:
        events = self._source.events
        statement = (
            select(self._source.fields.as_json(events))
            .where(events.c.position > after, events.c.position <= upto)
            .order_by(events.c.position)
            .limit(limit)
        )
        sql, arguments = compiled(statement)
        cursor = await (await driver.prepare(sql)).cursor(*arguments)
        found: list[str] = []
        size = 0
        while records := await cursor.fetch(_AT_ONCE):
            for record in records:
                found.append(record[0])
                size += len(record[0])
            if size > _MOST_BYTES:
                break
        return found

    def _event(self, text: str) -> tuple[Cursor, MirroredEvent | None]:
        try:
            read = exact_json.loads(text)
        except ValueError as error:
            position = text[1:].partition(",")[0]
            raise UnreadableEvent(f"event {position}: its JSON cannot be read ({error})") from None
        position, stream_id, version, kind, data, metadata, at = self._source.fields.read(read)
        try:
            recorded_at = datetime.fromisoformat(at)
        except ValueError:
            raise UnreadableEvent.timed(position, at) from None
        return position, MirroredEvent(
            kind,
            data,
            metadata=metadata,
            recorded_at=recorded_at,
            stream_id=str(stream_id),
            version=version + self._more if self._source.has_versions and stream_id else None,
        )

    def _connected(self) -> AsyncEngine:
        if self._engine is None:
            settings = load_settings()
            if self._url is not None:
                settings = settings.model_copy(update={"database_url": self._url})
            self._engine = make_engine(settings, activities=0)
        return self._engine


def _position(after: Cursor) -> int:
    if type(after) is int:
        return after
    raise ConfigurationError(
        f"mirrors.event_source: expected a position as its cursor, got {described(after)}: the "
        "mirror of this name had another source before; give this one another name"
    )
