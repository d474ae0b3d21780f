"""Table `refold.selected_keys`: the keys that a run repairs, if not all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Date,
    Integer,
    Select,
    String,
    Text,
    Uuid,
    and_,
    cast,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from refold.projection.key import Key, stored_key
from refold.projection.keys.part import KeyPart
from refold.store.schema import selected_keys

AT_ONCE = 100_000
"""So many keys are sent to another database at a time."""


async def add_found(
    connection: AsyncConnection, run_id: str, columns: Sequence[ColumnElement[Any]], found: Any
) -> None:
    """Adds the keys that a statement finds, each once.

    Args:
        connection: In a transaction.
        run_id: Whose keys they are.
        columns: The parts of a key.
        found: The conditions for the events that name them.
    """
    keys = select(literal(run_id), func.jsonb_build_array(*columns)).where(*found).distinct()
    await connection.execute(insert(selected_keys).from_select(["run_id", "key"], keys))


async def add(connection: AsyncConnection, run_id: str, keys: Iterable[Key]) -> None:
    """Adds keys; a key that is there already does no harm."""
    rows = [{"run_id": run_id, "key": stored_key(key)} for key in keys]
    if rows:
        await connection.execute(insert(selected_keys), rows)


def of_run(paths: Sequence[KeyPart], run_id: str) -> Select[Any]:
    """The statement for a run's keys, with the types that their parts have in events."""
    return select(*_parts(paths)).where(selected_keys.c.run_id == run_id)


def _parts(paths: Sequence[KeyPart]) -> list[ColumnElement[Any]]:
    return [_typed(selected_keys.c.key[i].astext, path.column.type) for i, path in enumerate(paths)]


def _typed(text: Any, kind: Any) -> ColumnElement[Any]:
    part: ColumnElement[Any] = text
    if isinstance(kind, Uuid):
        part = cast(text, Uuid)
    elif isinstance(kind, Integer):
        part = cast(text, BigInteger)
    elif isinstance(kind, Boolean):
        part = cast(text, Boolean)
    elif isinstance(kind, Date):
        part = cast(text, Date)
    elif getattr(kind, "collation", None) is not None:
        part = text.collate(kind.collation)
    return part


async def count(connection: AsyncConnection, run_id: str) -> int:
    """How many keys a run repairs."""
    keys = select(selected_keys.c.key).where(selected_keys.c.run_id == run_id).distinct()
    counted = await connection.scalar(select(func.count()).select_from(keys.subquery()))
    assert counted is not None
    return counted


async def bounds(
    connection: AsyncConnection,
    paths: Sequence[KeyPart],
    run_id: str,
    *,
    slices: int,
    collation: str | None = None,
) -> list[tuple[Key | None, Key | None]]:
    """Ranges that cover all keys, about equal in those of the run; see `refold.source.slices`.

    Args:
        connection: Any connection.
        paths: The key's parts.
        run_id: The run.
        slices: How many ranges to aim at.
        collation: By which text is ordered; None for its own.
    """
    names = [f"k{i}" for i in range(len(paths))]
    inner = of_run(paths, run_id).distinct().subquery()
    ordered = collated(list(inner.c), collation)
    keys = [column.label(name) for column, name in zip(ordered, names, strict=True)]
    bucket = func.ntile(slices).over(order_by=keys).label("bucket")
    cut = select(*keys, bucket).subquery()
    highest = [cut.c[name] for name in names]
    statement = (
        select(*highest)
        .ext(distinct_on(cut.c.bucket))
        .order_by(cut.c.bucket, *[key.desc() for key in highest])
    )
    found = [tuple(row) for row in await connection.execute(statement)]
    cuts: list[Key] = [row[0] if len(row) == 1 else row for row in found][:-1]
    return list(zip([None, *cuts], [*cuts, None], strict=True))


async def lowest(
    connection: AsyncConnection,
    paths: Sequence[KeyPart],
    run_id: str,
    *,
    low: Key | None,
    high: Key | None,
    collation: str,
    most: int,
    most_bytes: int = 8 << 20,
) -> list[Key]:
    """A run's keys with low < key <= high (None: no bound) in ascending order, each once.

    Args:
        connection: Any connection.
        paths: The key's parts.
        run_id: The run.
        low: Only keys above this (exclusive).
        high: Only keys up to this (inclusive).
        collation: By which text is ordered.
        most: How many at most.
        most_bytes: How many bytes they take as text at most, if they are several.
    """
    found = of_run(paths, run_id).distinct().subquery()
    ordered = collated(list(found.c), collation)
    size = sum((func.octet_length(cast(column, Text)) for column in found.c), start=literal(0))
    number = func.row_number().over(order_by=ordered).label("number")
    size_so_far = func.sum(size).over(order_by=ordered).label("size")
    ranged = range_of(ordered, [path.column.type for path in paths], low, high)
    sized = select(*found.c, number, size_so_far).where(*ranged).subquery()
    keys = list(sized.c)[: len(paths)]
    fits = or_(sized.c.number == 1, and_(sized.c.number <= most, sized.c.size <= most_bytes))
    rows = await connection.execute(select(*keys).where(fits).order_by(sized.c.number))
    return [row[0] if len(row) == 1 else tuple(row) for row in rows]


def collated(
    columns: Sequence[ColumnElement[Any]], collation: str | None
) -> list[ColumnElement[Any]]:
    """Columns of a key as they are ordered: text by a collation, None for its own."""
    if collation is None:
        return list(columns)
    return [c.collate(collation) if isinstance(c.type, String) else c for c in columns]


def range_of(
    columns: Sequence[ColumnElement[Any]],
    kinds: Sequence[TypeEngine[Any]],
    low: Key | None,
    high: Key | None,
) -> list[ColumnElement[bool]]:
    """The condition low < key <= high (None: no bound) for keys in these columns."""

    def sides(key: Key) -> tuple[Any, Any]:
        parts = key if len(columns) > 1 else (key,)
        values = [literal(part, kind) for part, kind in zip(parts, kinds, strict=True)]
        if len(columns) == 1:
            return columns[0], values[0]
        return tuple_(*columns), tuple_(*values)

    conditions: list[ColumnElement[bool]] = []
    if low is not None:
        left, right = sides(low)
        conditions.append(left > right)
    if high is not None:
        left, right = sides(high)
        conditions.append(left <= right)
    return conditions


async def analyze(connection: AsyncConnection) -> None:
    """Gathers the planner's statistics, in a transaction of its own: it has just been filled."""
    await connection.execute(text("ANALYZE refold.selected_keys"))
    await connection.commit()


async def sample(
    connection: AsyncConnection, paths: Sequence[KeyPart], run_id: str, *, most: int
) -> list[Key]:
    """Up to `most` of a run's keys, drawn at random."""
    inner = of_run(paths, run_id).distinct().subquery()
    statement = select(*inner.c).order_by(func.random()).limit(most)
    rows = [tuple(row) for row in await connection.execute(statement)]
    return [row[0] if len(row) == 1 else row for row in rows]


async def remove(connection: AsyncConnection, run_id: str) -> None:
    """Removes a run's keys; nothing happens when it has none."""
    await connection.execute(delete(selected_keys).where(selected_keys.c.run_id == run_id))
