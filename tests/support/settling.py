"""Who reads the log up to the settled head, and who appends to it by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import asyncpg
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.source.head import SettledHead
from refold.source.port.current import OWN, event_source, events, using
from refold.source.port.event_source import EventSource
from refold.source.reader import read_window
from refold.source.settled.in_order import InOrder
from refold.source.settled.marked import Marked
from refold.source.settled.patience import Patience
from tests.support.databases import Database

_streams = count(1)


class Reader:
    """Reads the log up to the settled head at each look, as a follower does."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.head = SettledHead()
        self.seen: list[int] = []
        self._connection = connection
        self._read = event_source().before

    async def look(self) -> list[int]:
        """Looks once; returns the positions that are new."""
        upto = await self.head.poll(self._connection)
        events = await read_window(
            self._connection, types=["T"], after=self._read, upto=upto, limit=1000
        )
        self._read = upto
        positions = [event.position for event in events]
        self.seen += positions
        return positions


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[Reader]:
    """A reader of the log, with a connection of its own."""
    async with database.engine.connect() as connection:
        yield Reader(await connection.execution_options(isolation_level="AUTOCOMMIT"))


@asynccontextmanager
async def session(database: Database) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A writer's connection."""
    connection = await asyncpg.connect(
        database.log_url, server_settings={"application_name": "a writer"}
    )
    try:
        yield connection
    finally:
        await connection.close()


async def committed(database: Database) -> list[int]:
    """The positions of the events of type T that are there, in order."""
    wanted = events().c.type.in_(event_source().stored_types(["T"]))
    async with database.log.connect() as connection:
        position = events().c.position
        rows = await connection.execute(select(position).where(wanted).order_by(position))
        return list(rows.scalars())


# -- logs, and how their writers write ---------------------------------------------------------

_Writes = Callable[[Any], Awaitable[int]]


@dataclass(frozen=True)
class Kept:
    """A log, and how an application appends to it.

    Attributes:
        name: For the test's name.
        ddl: What makes it.
        source: How it is read.
        writes: Appends an event in the writer's transaction, and returns its position.
        table: What SQL calls it.
        draws: Draws a position in a statement of its own.
        uses: Appends an event at a position that was drawn.
        mark: Sets the mark up to which events are settled.
    """

    name: str
    ddl: str | None
    source: EventSource
    writes: _Writes
    table: str
    draws: str = ""
    uses: str = ""
    mark: str = ""


_kept: list[Kept] = []


def name_of(kept: Kept) -> str:
    """What a way of keeping the log is called, for the ids of tests."""
    return kept.name


@contextmanager
def keeping(kept: Kept, url: str | None = None) -> Iterator[Kept]:
    """Makes a log the one that is written and read, in the database at an address if given."""
    _kept.append(kept)
    try:
        with using(kept.source, url):
            yield kept
    finally:
        _kept.pop()


async def write(connection: asyncpg.Connection[Any]) -> int:
    """Appends an event to a stream of its own; returns its position."""
    return await (_kept[-1] if _kept else IN_OWN).writes(connection)


async def _own(connection: asyncpg.Connection[Any]) -> int:
    position: int = await connection.fetchval(
        "INSERT INTO refold.events (stream_id, version, type, data) VALUES ($1, 1, 'T', '{}') "
        "RETURNING position",
        f"s-{next(_streams)}",
    )
    return position


def _table(name: str, *more: Column[Any]) -> Table:
    columns = Column("n", BigInteger), Column("type", Text), Column("data", JSONB)
    return Table(name, MetaData(), *columns, *more)


def _source(name: str, **changes: Any) -> EventSource:
    log = _table(name)
    given = {"position": log.c.n, "type": log.c.type, "data": log.c.data}
    return EventSource(log, **(given | changes))


def _inserts(statement: str) -> _Writes:
    async def writes(connection: asyncpg.Connection[Any]) -> int:
        position: int = await connection.fetchval(statement)
        return position

    return writes


async def _early(connection: asyncpg.Connection[Any]) -> int:
    """Draws the position first, and inserts with the next statement or with the next event."""
    last: int = await connection.fetchval("SELECT nextval('early_n_seq')")
    await connection.execute("INSERT INTO early VALUES ($1, 'T', '{}')", last)
    return last


async def _leaf(connection: asyncpg.Connection[Any]) -> int:
    leaf = next(_streams) % 2
    position: int = await connection.fetchval(
        f"INSERT INTO parts_{leaf} (p, type, data) VALUES ({leaf}, 'T', '{{}}') RETURNING n"
    )
    return position


async def _one_by_one(connection: asyncpg.Connection[Any]) -> int:
    await connection.execute("LOCK TABLE locked IN EXCLUSIVE MODE")
    position: int = await connection.fetchval(
        "INSERT INTO locked (type, data) VALUES ('T', '{}') RETURNING n"
    )
    return position


_PARTS = """
    CREATE TABLE parts (n bigserial, p int, type text, data jsonb) PARTITION BY LIST (p);
    CREATE TABLE parts_0 PARTITION OF parts FOR VALUES IN (0);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
    ALTER TABLE parts_0 ALTER n SET DEFAULT nextval('parts_n_seq');
    ALTER TABLE parts_1 ALTER n SET DEFAULT nextval('parts_n_seq');
"""
_VIEW = """
    CREATE TABLE behind (n bigserial PRIMARY KEY, type text, data jsonb);
    CREATE VIEW seen AS SELECT n, type, data FROM behind WHERE n > 0;
    CREATE VIEW again AS SELECT * FROM seen;
"""
_MARKED = """
    CREATE TABLE marked (n bigint PRIMARY KEY, type text, data jsonb);
    CREATE SEQUENCE marked_n_seq; CREATE TABLE mark AS SELECT 0::bigint AS up_to;
"""
_plain = "(n bigserial PRIMARY KEY, type text, data jsonb)"

IN_OWN = Kept("own", "SELECT 1", OWN, _own, "refold.events")
DRAWN_EARLY = Kept(
    "drawn-early",
    f"CREATE TABLE early {_plain}",
    _source("early"),
    _early,
    "early",
    draws="SELECT nextval('early_n_seq')",
    uses="INSERT INTO early VALUES ($1, 'T', '{}')",
)
PATIENT = Kept(
    "patience",
    f"CREATE TABLE patient {_plain}",
    # Whoever is at work is waited for, and nothing else.
    _source("patient", settled=Patience(0)),
    _inserts("INSERT INTO patient (type, data) VALUES ('T', '{}') RETURNING n"),
    "patient",
)
IN_PARTITIONS = Kept("partitions", _PARTS, _source("parts"), _leaf, "parts")
BEHIND_VIEW = Kept(
    "view",
    _VIEW,
    _source("again"),
    _inserts("INSERT INTO behind (type, data) VALUES ('T', '{}') RETURNING n"),
    "again",
)
ONE_BY_ONE = Kept(
    "in-order",
    f"CREATE TABLE locked {_plain}",
    _source("locked", settled=InOrder()),
    _one_by_one,
    "locked",
)
MARKED = Kept(
    "marked",
    _MARKED,
    _source(
        "marked",
        settled=Marked(select(Table("mark", MetaData(), Column("up_to", BigInteger)).c.up_to)),
    ),
    _inserts(
        "INSERT INTO marked VALUES (nextval('marked_n_seq'), 'T', '{}') RETURNING n",
    ),
    "marked",
    mark="UPDATE mark SET up_to = $1",
)
