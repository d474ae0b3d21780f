"""All snapshots of a projection, of both kinds, as people are told of them."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.messages.snapshots import SnapshotInfo
from refold.store.snapshots import copies, kept


async def newest_first(
    connection: AsyncConnection, projection: str, *, most: int | None = None
) -> list[SnapshotInfo]:
    """A projection's snapshots, the latest position first.

    Args:
        connection: Any connection.
        projection: Whose.
        most: How many at most; None for all.
    """
    made = [copies.described(one) for one in await copies.newest_first(connection, projection)]
    made += [one.described for one in await kept.newest_first(connection, projection, most=most)]
    return sorted(made, key=lambda one: (one.position, one.created_at), reverse=True)[:most]
