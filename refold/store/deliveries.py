"""Table `refold.deliveries`: up to which system event of a projection each handler has come."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta

from sqlalchemy import delete, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.store.schema import deliveries, system_event_counters


async def begin(connection: AsyncConnection, pairs: Iterable[tuple[str, str]]) -> None:
    """Lets handlers that were not known begin after what is recorded now.

    Args:
        connection: In a transaction.
        pairs: Projections and names of handlers.
    """
    for projection, handler in pairs:
        last = (
            select(func.coalesce(func.max(system_event_counters.c.last), 0))
            .where(system_event_counters.c.projection == projection)
            .scalar_subquery()
        )
        statement = insert(deliveries).from_select(
            ["projection", "handler", "delivered"],
            select(literal(projection), literal(handler), last),
        )
        await connection.execute(statement.on_conflict_do_nothing())


async def all_delivered(connection: AsyncConnection) -> dict[tuple[str, str], int]:
    """How far each handler has come, by projection and handler."""
    statement = select(deliveries.c.projection, deliveries.c.handler, deliveries.c.delivered)
    return {
        (row.projection, row.handler): row.delivered for row in await connection.execute(statement)
    }


async def delivered(connection: AsyncConnection, projection: str, handler: str) -> int | None:
    """Up to which event (inclusive) a handler has come; None when it is not known."""
    statement = select(deliveries.c.delivered).where(
        deliveries.c.projection == projection, deliveries.c.handler == handler
    )
    return await connection.scalar(statement)


async def advance(connection: AsyncConnection, projection: str, handler: str, upto: int) -> None:
    """Records that a handler has been given all up to an event (inclusive); never goes back."""
    statement = update(deliveries).where(
        deliveries.c.projection == projection,
        deliveries.c.handler == handler,
        deliveries.c.delivered < upto,
    )
    await connection.execute(statement.values(delivered=upto))


async def seen(connection: AsyncConnection, pairs: Collection[tuple[str, str]]) -> None:
    """Shows that handlers are registered, by projection and name, once a day."""
    if not pairs:
        return
    statement = update(deliveries).where(
        tuple_(deliveries.c.projection, deliveries.c.handler).in_(pairs),
        deliveries.c.seen_at < func.now() - timedelta(days=1),
    )
    await connection.execute(statement.values(seen_at=func.now()))


async def forget(connection: AsyncConnection, older_than: timedelta) -> int:
    """Forgets handlers that no worker has had for so long. Returns how many."""
    old = deliveries.c.seen_at < func.now() - older_than
    return (await connection.execute(delete(deliveries).where(old))).rowcount
