"""An application that draws its positions in advance, 50 at a time, as Hibernate 6 does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
from sqlalchemy import BigInteger, Column, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from refold import Event, Patience
from refold.source.port.event_source import EventSource
from tests.support.mapped import NOON, json

SIZE = 50
DDL = """
    CREATE SEQUENCE pooled_seq INCREMENT BY 50;
    CREATE TABLE pooled (n bigint PRIMARY KEY, stream text NOT NULL, no bigint NOT NULL,
        type text NOT NULL, data jsonb NOT NULL, at timestamptz NOT NULL)
"""


def pooled(patience: Patience) -> EventSource:
    """The mapping of the table."""
    log = Table(
        "pooled",
        MetaData(),
        Column("n", BigInteger, primary_key=True),
        Column("stream", Text, nullable=False),
        Column("no", BigInteger, nullable=False),
        Column("type", Text, nullable=False),
        Column("data", JSONB, nullable=False),
        Column("at", Text, nullable=False),
    )
    return EventSource(
        log,
        position=log.c.n,
        stream_id=log.c.stream,
        version=log.c.no,
        type=log.c.type,
        data=log.c.data,
        recorded_at=log.c.at,
        settled=patience,
        first=1,
        name="pooled",
    )


class Node:
    """A process of the application: it draws a block of positions, and uses them up.

    Args:
        connection: On which it writes; blocks are drawn in transactions of their own.
        drawing: On which it draws.
    """

    def __init__(
        self, connection: asyncpg.Connection[Any], drawing: asyncpg.Connection[Any]
    ) -> None:
        self.connection = connection
        self._drawing = drawing
        self._left: list[int] = []

    async def draw(self) -> int:
        """The next position, of the block in hand or of a new one."""
        if not self._left:
            first = await self._drawing.fetchval("SELECT nextval('pooled_seq')")
            self._left = list(range(first, first + SIZE))
        return self._left.pop(0)

    async def write(self, kind: str = "T", key: Any = "a", n: int = 1) -> Event:
        """Writes an event in the transaction that is open, or in one of its own."""
        position = await self.draw()
        event = Event(position, str(key), 1, kind, {"key": key, "n": n}, {}, NOON)
        await self.insert([event])
        return event

    async def insert(self, events: Sequence[Event]) -> None:
        """Writes events that have their positions."""
        await self.connection.executemany(
            "INSERT INTO pooled VALUES ($1, $2, $3, $4, $5, $6)",
            [
                (e.position, e.stream_id, e.version, e.type, json(e.data), e.recorded_at)
                for e in events
            ],
        )
