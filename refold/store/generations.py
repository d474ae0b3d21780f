"""Table `refold.generations`: the physical copies of each read model, and their checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NotRequired, TypedDict

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import Fenced, RunEnded
from refold.store.schema import (
    dead_letters,
    generations,
    leases,
    snapshot_changes,
    snapshot_rows,
    snapshots,
)

BUILDING, ACTIVE, RETAINED, DISCARDED = "building", "active", "retained", "discarded"
SNAPSHOT, BASE = "snapshot", "base"

UNMANAGED = 0
"""The version of a table that was there before Refold: what built it is not known."""

NOT_YET = datetime.max.replace(tzinfo=UTC)
"""When a generation that is only planned was begun."""


class Built(TypedDict):
    """What a table was built with: its columns, and the names of its indexes and constraints.

    ``definitions`` has the definition of each thing, by its kind and name.
    """

    names: list[str]
    columns: list[str]
    definitions: NotRequired[dict[str, dict[str, str]]]


class Away(TypedDict):
    """Where a checkpoint is kept apart from its rows: store, place and the record's name."""

    store: str
    place: str
    name: str


@dataclass(frozen=True)
class Generation:
    """One physical copy of a projection's table.

    Attributes:
        projection: Whose.
        generation: Its number, from 1.
        version: The projection's version that built it; `UNMANAGED` for a table found in place.
        status: ``building``, ``active`` (what readers query), ``retained``, ``snapshot``, ``base``
            (only snapshots need it) or ``discarded``.
        schema_name: The schema that holds the table now.
        table_name: The table.
        position: Its checkpoint: every settled event up to here is in it, none after; None while
            it is being loaded, or for an unmanaged table.
        rows: How many rows it had when it was last counted; None when it never was.
        built_with: What it consisted of as it was built; all else was added by hand since.
        run_id: The run that made it.
        created_at: When it was begun.
        swapped_at: When it last went live, or was last replaced.
        away: The store that has the checkpoint; None when it is here. While it is away, `position`
            is where the last batch that wrote rows ended: a hint for people, and a bound.
        changes_kept_to: The checkpoint up to which its changes were kept for its snapshots; None
            when it has had none.
        counted_events: How many events were counted since the latest snapshot; None when they
            never were.
    """

    projection: str
    generation: int
    version: int
    status: str
    schema_name: str
    table_name: str
    position: int | None
    rows: int | None
    built_with: Built | None
    run_id: str | None
    created_at: datetime
    swapped_at: datetime | None
    away: Away | None = None
    changes_kept_to: int | None = None
    counted_events: int | None = None


_COLUMNS = tuple(generations.c[name] for name in Generation.__dataclass_fields__)


def row_of(projection: str, generation: int) -> ColumnElement[bool]:
    """The condition for one generation's row."""
    return (generations.c.projection == projection) & (generations.c.generation == generation)


async def of_projection(connection: AsyncConnection, projection: str) -> list[Generation]:
    """All generations of a projection, the oldest first."""
    statement = select(*_COLUMNS).where(generations.c.projection == projection)
    rows = await connection.execute(statement.order_by(generations.c.generation))
    return [Generation(*row) for row in rows]


async def of_status(connection: AsyncConnection, projection: str, status: str) -> list[Generation]:
    """A projection's generations of one status, the oldest first; no others are read."""
    statement = select(*_COLUMNS).where(
        generations.c.projection == projection, generations.c.status == status
    )
    rows = await connection.execute(statement.order_by(generations.c.generation))
    return [Generation(*row) for row in rows]


async def left_building(connection: AsyncConnection) -> list[Generation]:
    """Generations that nobody will finish: the runs that were building them hold no lease."""
    held = select(leases.c.run_id).where(leases.c.run_id == generations.c.run_id)
    statement = select(*_COLUMNS).where(generations.c.status == BUILDING, ~held.exists())
    return [Generation(*row) for row in await connection.execute(statement)]


async def projections(connection: AsyncConnection) -> list[str]:
    """The names of all projections that were ever built."""
    statement = select(generations.c.projection).distinct().order_by(generations.c.projection)
    return list((await connection.execute(statement)).scalars())


async def get(
    connection: AsyncConnection, projection: str, generation: int, *, lock: bool = False
) -> Generation | None:
    """One generation, locked against any change by others if asked."""
    statement = select(*_COLUMNS).where(row_of(projection, generation))
    row = (await connection.execute(statement.with_for_update() if lock else statement)).first()
    return None if row is None else Generation(*row)


async def active(
    connection: AsyncConnection, projection: str, *, lock: bool = False
) -> Generation | None:
    """The generation that readers query, locked against any change by others if asked."""
    statement = select(*_COLUMNS).where(
        generations.c.projection == projection, generations.c.status == ACTIVE
    )
    row = (await connection.execute(statement.with_for_update() if lock else statement)).first()
    return None if row is None else Generation(*row)


async def hold_position(
    connection: AsyncConnection, projection: str, generation: int, *, status: str = ACTIVE
) -> int:
    """A generation's checkpoint, which cannot move until the transaction ends.

    Raises:
        RunEnded: The generation is not of that status any more, or has no checkpoint.
    """
    statement = (
        select(generations.c.position)
        .where(row_of(projection, generation), generations.c.status == status)
        .with_for_update(read=True)
    )
    position = await connection.scalar(statement)
    if position is None:
        raise RunEnded(f"generation {generation} of {projection!r} is not {status} any more")
    return int(position)


async def create(
    connection: AsyncConnection,
    projection: str,
    *,
    version: int,
    status: str,
    schema_name: str | None,
    table_name: str,
    position: int | None = None,
    run_id: str | None = None,
) -> Generation:
    """Adds a generation, numbered one above the highest there ever was.

    Args:
        connection: In a transaction that holds the projection's lease.
        projection: Whose.
        version: What builds it.
        status: Its first status.
        schema_name: Where its table is; None for a schema of its own (`own_schema`).
        table_name: Its table.
        position: Its checkpoint, if it has one.
        run_id: The run that makes it.
    """
    number = 1 + await highest(connection, projection)
    statement = (
        insert(generations)
        .values(
            projection=projection,
            generation=number,
            version=version,
            status=status,
            schema_name=schema_name or own_schema(projection, number),
            table_name=table_name,
            position=position,
            run_id=run_id,
        )
        .returning(*_COLUMNS)
    )
    return Generation(*(await connection.execute(statement)).one())


def own_schema(projection: str, generation: int) -> str:
    """The schema that holds a generation's table while it is not the active one."""
    return f"refold_{projection.replace('-', '_')}_g{generation}"


async def take_fence(connection: AsyncConnection, projection: str, generation: int) -> int:
    """Takes the checkpoint over: from now on only the returned token may move it.

    Raises:
        RunEnded: The generation is gone.
    """
    statement = update(generations).where(row_of(projection, generation))
    statement = statement.values(fence=generations.c.fence + 1).returning(generations.c.fence)
    fence = await connection.scalar(statement)
    if fence is None:
        raise RunEnded(f"generation {generation} of {projection!r} is gone")
    return int(fence)


# Made once, as every batch has it.
_KNOWN = ("projection", "generation", "position", "fence")
_HERE = [generations.c[name] == bindparam(f"its_{name}") for name in _KNOWN]
_ADVANCE = update(generations).where(*_HERE).values(position=bindparam("new"))


async def advance(
    connection: AsyncConnection,
    projection: str,
    generation: int,
    *,
    old: int,
    new: int,
    fence: int,
    changes_kept: bool = False,
    counted_events: int | None = None,
) -> None:
    """Moves the checkpoint from the position that was read, under the token that was taken.

    This must come first in the transaction that writes the rows: from here on nobody else can.

    Args:
        connection: In a transaction.
        projection: Whose.
        generation: Which one.
        old: The checkpoint as it was read.
        new: The checkpoint as it will be.
        fence: The token.
        changes_kept: Whether the transaction keeps what it changes for the generation's snapshots.
        counted_events: How many events there will be since the latest of these, if they count.

    Raises:
        Fenced: The checkpoint is elsewhere or another token was taken.
    """
    known = zip(_KNOWN, (projection, generation, old, fence), strict=True)
    statement, values = _ADVANCE, {f"its_{name}": value for name, value in known}
    if changes_kept:
        statement = statement.values(changes_kept_to=new)
    if counted_events is not None:
        statement = statement.values(counted_events=counted_events)
    if (await connection.execute(statement, {**values, "new": new})).rowcount != 1:
        raise Fenced(
            f"checkpoint of {projection!r} generation {generation}: expected position {old} under "
            f"fence {fence}; another attempt has moved it"
        )


async def set_loaded(
    connection: AsyncConnection, projection: str, generation: int, position: int
) -> None:
    """Gives a loaded generation its first checkpoint; nothing happens when it has one."""
    statement = update(generations).where(
        row_of(projection, generation), generations.c.position.is_(None)
    )
    await connection.execute(statement.values(position=position))


async def set_built_with(
    connection: AsyncConnection, projection: str, generation: int, built: Built
) -> None:
    """Records what the generation's table consists of, as it was built."""
    await connection.execute(
        update(generations).where(row_of(projection, generation)).values(built_with=built)
    )


async def set_rows(
    connection: AsyncConnection, projection: str, generation: int, rows: int
) -> None:
    """Records how many rows were counted."""
    await connection.execute(
        update(generations).where(row_of(projection, generation)).values(rows=rows)
    )


async def highest(connection: AsyncConnection, projection: str) -> int:
    """The highest generation there ever was; 0 when there was none."""
    most = select(func.coalesce(func.max(generations.c.generation), 0))
    return await connection.scalar(most.where(generations.c.projection == projection)) or 0


async def replaced(connection: AsyncConnection, projection: str) -> list[Generation]:
    """The retained generations, the one replaced last first."""
    retained = await of_status(connection, projection, RETAINED)
    return sorted(
        retained, key=lambda g: (g.swapped_at or g.created_at, g.generation), reverse=True
    )


async def fence_active(connection: AsyncConnection, projection: str) -> None:
    """Stops the current follower of the active generation; the next one takes its own fence."""
    statement = update(generations).where(
        generations.c.projection == projection, generations.c.status == ACTIVE
    )
    await connection.execute(statement.values(fence=generations.c.fence + 1))


async def discard(connection: AsyncConnection, projection: str, generation: int) -> None:
    """Records that a generation's table has been dropped; its number is never used again."""
    statement = update(generations).where(row_of(projection, generation))
    statement = statement.values(status=DISCARDED, position=None, discarded_at=func.now())
    for table in (dead_letters, snapshots, snapshot_changes, snapshot_rows):
        of_it = (table.c.projection == projection) & (table.c.generation == generation)
        statement = statement.add_cte(delete(table).where(of_it).cte(f"of_{table.name}"))
    await connection.execute(statement)


async def set_base(connection: AsyncConnection, projection: str, generation: int) -> None:
    """Keeps a generation for its snapshots only: nobody rolls back to it any more."""
    statement = update(generations).where(row_of(projection, generation))
    await connection.execute(statement.values(status=BASE))


async def set_kept(
    connection: AsyncConnection, projection: str, generation: int, *, position: int, counted: int
) -> None:
    """Records how far changes are kept, and how many events count towards the next snapshot."""
    statement = update(generations).where(row_of(projection, generation))
    await connection.execute(statement.values(changes_kept_to=position, counted_events=counted))
