"""How far each slice of the log is, of which keys are computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import Fenced
from refold.store.schema import SCHEMA
from refold.store.side_keys.tables import SideTable, names_of


@dataclass(frozen=True)
class Slice:
    """A slice of the log, as an attempt has taken it over.

    Attributes:
        number: Its number, from 0.
        position: Events up to here (inclusive) are done.
        fence: The token of the attempt that may go on.
        done: Whether all its events are.
    """

    number: int
    position: int
    fence: int
    done: bool


def row_of(side: SideTable, number: int) -> ColumnElement[bool]:
    """The condition for a slice's row."""
    condition: ColumnElement[bool] = side.slices.c.slice == number
    return condition


async def take(connection: AsyncConnection, side: SideTable, number: int, low: int) -> Slice:
    """Takes a slice over: from now on only the returned fence may move it.

    A slice that nobody has begun, or that a crash of PostgreSQL has emptied, begins after `low`.
    """
    table = side.slices
    made = insert(table).values(slice=number, position=low)
    taken = made.on_conflict_do_update(
        index_elements=[table.c.slice], set_={"fence": table.c.fence + 1}
    ).returning(table.c.slice, table.c.position, table.c.fence, table.c.done)
    return Slice(*(await connection.execute(taken)).one())


async def advance(
    driver: asyncpg.Connection[Any],
    side: SideTable,
    taken: Slice,
    *,
    position: int,
    upto: int,
    events: int,
    done: bool,
) -> int:
    """Moves a slice, first in the transaction that writes its keys.

    Args:
        driver: In that transaction.
        side: The tables.
        taken: The slice, for its fence.
        position: Where it stands; compared before it is set.
        upto: Where it will stand.
        events: How many events are done with this.
        done: Whether it ends with this.

    Returns:
        The revision of what the run has been told.

    Raises:
        Fenced: Another attempt has taken the slice over, or a crash has emptied it.
    """
    moved = await driver.fetchrow(
        f"""
        UPDATE {SCHEMA}."{side.slices.name}"
        SET position = $4, events = events + $5, done = $6
        WHERE slice = $1 AND fence = $2 AND position = $3
        RETURNING coalesce((SELECT (controls ->> 'revision')::bigint
                            FROM {SCHEMA}.runs WHERE run_id = $7), 0)
        """,
        *(taken.number, taken.fence, position, upto, events, done, side.run_id),
    )
    if moved is None:
        raise Fenced(
            f"slice {taken.number} of run {side.run_id}: expected it at {position} under fence "
            f"{taken.fence}; another attempt has taken over"
        )
    return int(moved[0])


async def hold(connection: AsyncConnection, side: SideTable, number: int, low: int) -> int:
    """Locks a slice until the transaction ends; returns up to where (inclusive) it is done."""
    table = side.slices
    made = insert(table).values(slice=number, position=low).on_conflict_do_nothing()
    await connection.execute(made)
    row = select(table.c.position).where(row_of(side, number)).with_for_update()
    position = await connection.scalar(row)
    assert position is not None
    return int(position)


async def move(connection: AsyncConnection, side: SideTable, number: int, upto: int) -> None:
    """Moves a slice that is held."""
    await connection.execute(update(side.slices).where(row_of(side, number)).values(position=upto))


async def are_done(connection: AsyncConnection, side: SideTable, count: int) -> bool:
    """Whether all of the first `count` slices are done; a crash of PostgreSQL undoes them."""
    table = side.slices
    counted = select(func.count()).select_from(table).where(table.c.done, table.c.slice < count)
    return await connection.scalar(counted) == count


async def counted(connection: AsyncConnection, run_id: str) -> tuple[int, int]:
    """How many slices of a run are done, and how many events; nothing without a side table."""
    _, name = names_of(run_id)
    there = text("SELECT to_regclass(:name)")
    quoted = f'{SCHEMA}."{name}"'
    if await connection.scalar(there, {"name": quoted}) is None:
        return 0, 0
    sums = text(
        f"SELECT count(*) FILTER (WHERE done), coalesce(sum(events), 0)::bigint FROM {quoted}"
    )
    done, events = (await connection.execute(sums)).one()
    return int(done), int(events)
