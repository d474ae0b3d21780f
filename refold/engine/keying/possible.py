"""Whether the keys that a function makes can be computed first, and how the log is cut for it."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.declaration import Projection
from refold.projection.keys.stored import unwritten
from refold.source.port.current import event_source, events
from refold.source.port.elsewhere import is_elsewhere
from refold.source.settled.patience import patience_of
from refold.store.side_keys.tables import may_create

_ROLE = text("SELECT quote_ident(current_user)")


async def why_unwritten(connection: AsyncConnection) -> Callable[[Projection], str | None]:
    """Says of a projection why its keys cannot be computed first; None if they can, or need not."""
    may = await may_create(connection)
    role = None if may else await connection.scalar(_ROLE)

    def why(projection: Projection) -> str | None:
        if projection.key_paths is not None:
            return None
        if is_elsewhere():
            return "its key is a function, and the events are in another database"
        if patience_of(event_source()) is not None:
            # They would have to be put into the side table, too.
            return "its key is a function, and its source waits for late events with Patience"
        if not may:
            return (
                f"its key is a function, and role {role} may create no table in schema refold to "
                f"compute its keys into (GRANT CREATE ON SCHEMA refold TO {role})"
            )
        if columns := unwritten(projection.table):
            return (
                f"its key is a function, and {', '.join(columns)} is no type of which keys are "
                "computed first (text, whole numbers, UUIDs, dates and truth values are)"
            )
        return None

    return why


def is_written(projection: Projection, why_not: Callable[[Projection], str | None]) -> bool:
    """Whether its key is a function whose keys are computed first."""
    return projection.key_paths is None and why_not(projection) is None


async def key_cuts(connection: AsyncConnection, *, head: int, slices: int) -> list[int]:
    """Positions that cut the log into slices, each from one (exclusive) to the next (inclusive).

    Args:
        connection: Any connection.
        head: The last position (inclusive).
        slices: How many slices to aim at.
    """
    first = await connection.scalar(select(func.min(events().c.position)))
    low = event_source().before if first is None else max(event_source().before, first - 1)
    if head <= low:
        return [low, max(head, low)]
    count = min(slices, head - low)
    return [low + (head - low) * number // count for number in range(count + 1)]
