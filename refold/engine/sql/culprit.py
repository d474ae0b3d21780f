"""Finds the key whose row a select cannot make, by halving."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from sqlalchemy import Insert, Select, func, insert, literal_column, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.expression import FromClause

from refold.projection.key import Key
from refold.projection.sql.declaration import SqlProjection
from refold.source.sql.spans import Span, keys_of, rows_of
from refold.store.tables.refused_row import RefusedRow, refused_row

# Among more keys none is looked for, and not for longer.
_MOST_KEYS = 200_000
_SECONDS = 20.0


class _Tried(Exception):
    """Ends a savepoint in which rows were only tried."""


def inserting(target: FromClause, rows: Select[Any]) -> Insert:
    """Adds the rows that a statement makes, its columns in the order of the table's."""
    names = [str(column.name) for column in rows.selected_columns]
    return insert(target).from_select(names, rows, include_defaults=False)  # type: ignore[arg-type]


async def key_at_fault(
    connection: AsyncConnection,
    projection: SqlProjection,
    span: Span,
    keys: Sequence[Key] | None = None,
    *,
    into: FromClause | None = None,
) -> tuple[Key | None, RefusedRow | None]:
    """The key for which a select fails, and why it fails for that key alone.

    Args:
        connection: In a transaction; nothing in it is changed.
        projection: Whose select.
        span: What it was run for.
        keys: The keys among which it is; None for all of the span.
        into: The table that refuses a row; None when the select itself fails.

    Returns:
        Nothing when it is not found soon.
    """
    if keys is None:
        listed = await connection.execute(keys_of(projection, span).limit(_MOST_KEYS + 1))
        keys = [parts[0] if len(parts) == 1 else tuple(parts) for *parts, _ in listed]
    if len(keys) > _MOST_KEYS:
        return None, None
    end = monotonic() + _SECONDS
    left, why = list(keys), await _tried(connection, projection, span, keys, into)
    while why is not None and len(left) > 1:
        if monotonic() > end:
            return None, why
        half = left[: len(left) // 2]
        found = await _tried(connection, projection, span, half, into)
        left, why = (half, found) if found is not None else (left[len(half) :], why)
    if why is None or not left:
        return None, None
    return left[0], await _tried(connection, projection, span, left, into) or why


async def _tried(
    connection: AsyncConnection,
    projection: SqlProjection,
    span: Span,
    keys: Sequence[Key],
    into: FromClause | None,
) -> RefusedRow | None:
    rows = rows_of(
        projection, Span(span.upto, span.after, among=list(keys), passed_over=span.passed_over)
    )
    # The whole row is looked at: what nobody asks for is not computed.
    whole = select(func.count(literal_column("made.*"))).select_from(rows.subquery("made"))
    try:
        async with connection.begin_nested():
            await connection.execute(whole if into is None else inserting(into, rows))
            raise _Tried
    except _Tried:
        return None
    except DBAPIError as error:
        return refused_row(error)
