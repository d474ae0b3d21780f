"""Some of a source's events, drawn page by page, where reading all of them would take long."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, tablesample, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.util import ClauseAdapter

from refold.source.port.current import event_source
from refold.source.settled.locks import written

# Of a partitioned table, PostgreSQL counts the rows of its leaves, and of the whole only if asked.
_KIND = text(
    """
    SELECT c.relkind IN ('r', 'p', 'm') AS is_sampled, coalesce(
        (SELECT sum(leaf.reltuples) FROM pg_partition_tree(c.oid) t
         JOIN pg_class leaf ON leaf.oid = t.relid WHERE t.isleaf), c.reltuples) AS rows
    FROM pg_class c WHERE c.oid = CAST(CAST(:name AS text) AS regclass)
    """
)


async def sampled(connection: AsyncConnection, *, upto: int, size: int) -> tuple[Any, bool]:
    """About `size` events, or all of them when there are no more.

    Args:
        connection: Any connection.
        upto: The highest position that counts.
        size: About how many events there shall be.

    Returns:
        A relation with the columns of the source's events, and whether it has all of them.
    """
    source = event_source()
    if source.is_own:
        if upto <= size:
            return source.events, True
        return tablesample(source.events, func.system(_percent(size, upto))), False
    table = source.sampled_table
    if table is None:
        return source.events, True
    row = (await connection.execute(_KIND, {"name": written(table)})).one()
    # A view has no pages, and what was never analyzed is read whole.
    if not row.is_sampled or row.rows <= size:
        return source.events, True
    drawn = tablesample(table, func.system(_percent(size, row.rows)), name=table.name)
    adapted: Any = ClauseAdapter(drawn).traverse(source.statement)
    return adapted.subquery("events"), False


def _percent(size: int, count: float) -> float:
    return max(100 * size / count, 0.001)
