"""Column `away` of `refold.generations`: checkpoints that a store has, and their coming home."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import Fenced
from refold.store import leases
from refold.store.generations import ACTIVE, Away, Generation, row_of
from refold.store.schema import generations


async def hand_out(
    connection: AsyncConnection, generation: Generation, fence: int, away: Away
) -> bool:
    """Records that a store has the checkpoint, unless a run holds the projection.

    Args:
        connection: In a transaction.
        generation: The active generation, with the position that the store's record has.
        fence: The follower's token, which the record has, too.
        away: Where the record is.

    Returns:
        Whether the store has it from the commit on.
    """
    if not await _hold(connection, generation, fence):
        return False
    # Under the lock: a run takes its lease first, and then asks for this row.
    if await leases.holder(connection, generation.projection) is not None:
        return False
    condition = [_row(generation), generations.c.position == generation.position]
    condition += [generations.c.away.is_(None), generations.c.status == ACTIVE]
    handed = await connection.execute(update(generations).where(*condition).values(away=away))
    return handed.rowcount == 1


async def bring_home(
    connection: AsyncConnection, generation: Generation, fence: int, *, known: bool = True
) -> None:
    """Makes the position here the checkpoint again, in the transaction that puts the rows right.

    Args:
        connection: In a transaction.
        generation: The generation, as it was when the token was taken.
        fence: The token.
        known: Whether it is known that the rows are as of that position; without a checkpoint
            nobody goes on from them.

    Raises:
        Fenced: Another token was taken.
    """
    await require_held(connection, generation, fence)
    position = generation.position if known else None
    await connection.execute(
        update(generations).where(_row(generation)).values(away=None, position=position)
    )


async def require_held(connection: AsyncConnection, generation: Generation, fence: int) -> None:
    """Requires that nobody has taken another token, nor can until the transaction ends.

    Raises:
        Fenced: Somebody has.
    """
    if not await _hold(connection, generation, fence):
        raise Fenced(
            f"checkpoint of {generation.projection!r} generation {generation.generation}: expected "
            f"fence {fence}; another attempt has taken it over"
        )


async def _hold(connection: AsyncConnection, generation: Generation, fence: int) -> bool:
    held = select(func.count()).select_from(
        select(generations.c.fence)
        .where(_row(generation), generations.c.fence == fence)
        .with_for_update()
        .subquery()
    )
    return bool(await connection.scalar(held))


def _row(generation: Generation) -> ColumnElement[bool]:
    return row_of(generation.projection, generation.generation)
