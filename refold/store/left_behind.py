"""Table `refold.left_behind`: what workers could not clear away, and why."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.runtime.database import storable
from refold.store.schema import left_behind


@dataclass(frozen=True)
class Trouble:
    """One thing that could not be done.

    Attributes:
        projection: Of which projection it is.
        item: What it is, such as ``generation 3``.
        reason: Why it could not be done, and what to do.
    """

    projection: str
    item: str
    reason: str


@dataclass(frozen=True)
class LeftBehind:
    """A trouble as it is recorded.

    Attributes:
        projection: Of which projection it is; empty for none in particular.
        chore: What the workers were doing.
        item: What it is about.
        reason: Why it could not be done.
        since: When it was first found.
    """

    projection: str
    chore: str
    item: str
    reason: str
    since: datetime


async def of_projection(connection: AsyncConnection, projection: str) -> list[LeftBehind]:
    """What is left behind of a projection, or of none in particular, the oldest first."""
    columns = [left_behind.c[name] for name in LeftBehind.__dataclass_fields__]
    statement = (
        select(*columns)
        .where(left_behind.c.projection.in_((projection, "")))
        .order_by(left_behind.c.since, left_behind.c.item)
    )
    rows = await connection.execute(statement)
    return [LeftBehind(*row) for row in rows]


async def of_all(connection: AsyncConnection) -> list[LeftBehind]:
    """All that is left behind, the oldest first."""
    columns = [left_behind.c[name] for name in LeftBehind.__dataclass_fields__]
    statement = select(*columns).order_by(left_behind.c.since, left_behind.c.item)
    return [LeftBehind(*row) for row in await connection.execute(statement)]


async def settle(
    connection: AsyncConnection,
    chore: str,
    projections: Collection[str] | None,
    troubles: Collection[Trouble],
) -> None:
    """Records what a chore has found: new reasons are added, reasons that are gone are removed.

    Nothing is written when nothing has changed.

    Args:
        connection: In a transaction.
        chore: Its name.
        projections: Those that it has looked at: others' rows stay. None for all.
        troubles: All that it has found.
    """
    key = (left_behind.c.projection, left_behind.c.item)
    statement = select(*key, left_behind.c.reason).where(left_behind.c.chore == chore)
    if projections is not None:
        statement = statement.where(left_behind.c.projection.in_(projections))
    known = {(row[0], row[1]): row[2] for row in await connection.execute(statement)}
    found = {(t.projection, t.item): storable(t.reason) for t in troubles}
    gone = sorted(known.keys() - found.keys())
    if gone:
        await connection.execute(
            delete(left_behind).where(left_behind.c.chore == chore, tuple_(*key).in_(gone))
        )
    for (projection, item), reason in sorted(found.items()):
        if known.get((projection, item)) != reason:
            row = insert(left_behind).values(
                chore=chore, projection=projection, item=item, reason=reason
            )
            await connection.execute(
                row.on_conflict_do_update(
                    index_elements=list(left_behind.primary_key), set_={"reason": reason}
                )
            )
