"""The side table of a run: which key belongs to which position, and how far each slice is.

Both tables are unlogged. They survive a crash of a worker. A crash of PostgreSQL empties both, so
what is written down and how far it reaches are always of one mind: the pass begins again then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, Table, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateTable

from refold.projection.declaration import Projection
from refold.projection.keys.stored import StoredPart
from refold.runtime.driver import carry_out
from refold.store.schema import SCHEMA

_PLAIN = re.compile(r"[A-Za-z0-9-]{1,40}")
_PREFIXES = ("keys_", "key_slices_")

_MAY_CREATE = text("SELECT has_schema_privilege(:schema, 'CREATE')")
_LEFT = text(
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = :schema AND c.relkind = 'r' AND c.relpersistence = 'u' ORDER BY 1"
)


@dataclass(frozen=True)
class SideTable:
    """The side table of one run.

    Attributes:
        run_id: Whose it is.
        keys: A position and the parts of a key, once for each key of an event. The parts are NULL
            for an event whose key does not fit, and which is going to be set aside.
        slices: How far each slice of the log is; one more for what comes after the plan's head.
    """

    run_id: str
    keys: Table
    slices: Table
    columns: tuple[Column[Any], ...]

    @cached_property
    def parts(self) -> tuple[StoredPart, ...]:
        """The parts of the key, for statements that join the events with `keys`."""
        stored = list(self.keys.c)[1:]
        pairs = zip(self.columns, stored, strict=True)
        return tuple(StoredPart(column, found) for column, found in pairs)

    @property
    def has_key(self) -> Any:
        """The condition for positions that have a key."""
        return self.keys.c.k0.is_not(None)


# SQLAlchemy caches compiled statements by the table object.
@lru_cache(maxsize=64)
def side_table(projection: Projection, run_id: str) -> SideTable:
    """The side table of a run of a projection whose key is a function."""
    keys, slices = names_of(run_id)
    of_key = tuple(projection.table.primary_key.columns)
    metadata = MetaData(schema=SCHEMA)
    return SideTable(
        run_id,
        Table(
            keys,
            metadata,
            Column("position", BigInteger, nullable=False),
            *[Column(f"k{index}", column.type) for index, column in enumerate(of_key)],
            prefixes=["UNLOGGED"],
        ),
        Table(
            slices,
            metadata,
            Column("slice", Integer, primary_key=True, autoincrement=False),
            Column("position", BigInteger, nullable=False),
            Column("events", BigInteger, nullable=False, server_default="0"),
            Column("fence", BigInteger, nullable=False, server_default="0"),
            Column("done", Boolean, nullable=False, server_default=text("false")),
            prefixes=["UNLOGGED"],
        ),
        of_key,
    )


def names_of(run_id: str) -> tuple[str, str]:
    """The names of a run's two tables."""
    name = run_id if _PLAIN.fullmatch(run_id) else sha256(run_id.encode()).hexdigest()[:40]
    keys, slices = _PREFIXES
    return keys + name, slices + name


async def may_create(connection: AsyncConnection) -> bool:
    """Whether this role may make tables in Refold's schema."""
    return bool(await connection.scalar(_MAY_CREATE, {"schema": SCHEMA}))


async def create(connection: AsyncConnection, side: SideTable) -> None:
    """Makes both tables, empty."""
    for table in (side.keys, side.slices):
        await carry_out(connection, CreateTable(table, if_not_exists=True))


async def drop(connection: AsyncConnection, names: tuple[str, ...]) -> None:
    """Drops tables of these names, as far as they are there."""
    for name in names:
        await connection.execute(text(f'DROP TABLE IF EXISTS {SCHEMA}."{name}"'))


async def all_names(connection: AsyncConnection) -> list[str]:
    """The names of all side tables that there are."""
    found = await connection.execute(_LEFT, {"schema": SCHEMA})
    return [name for name in found.scalars() if name.startswith(_PREFIXES)]


async def analyze(connection: AsyncConnection, side: SideTable) -> None:
    """Gathers the planner's statistics: the table has just been filled."""
    await connection.execute(text(f'ANALYZE {SCHEMA}."{side.keys.name}"'))
