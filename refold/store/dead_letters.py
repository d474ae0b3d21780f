"""Tables `refold.dead_letters` and `refold.skipped_events`: events set aside, or passed over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import orjson
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Date,
    Insert,
    Integer,
    Uuid,
    any_,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import InvalidRequest
from refold.projection.dead_letters import DeadLetter, HeldKeys, Letter, letter_key
from refold.projection.declaration import Projection
from refold.projection.key import Key
from refold.projection.keys.part import KeyPart
from refold.runtime.database import raw
from refold.store import generations
from refold.store.schema import dead_letters, selected_keys, skipped_events
from refold.store.side_keys.tables import SideTable

_COLUMNS = tuple(dead_letters.c[name] for name in DeadLetter.model_fields)


def _of(projection: str, generation: int) -> ColumnElement[bool]:
    return (dead_letters.c.projection == projection) & (dead_letters.c.generation == generation)


# -- setting aside ---------------------------------------------------------------------------

# Transactions that add letters to one generation come one after another, so that each counts what
# the others have added. The lock is taken last, so that its holder waits for nobody.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
_COUNT = "SELECT count(*) FROM refold.dead_letters WHERE projection = $1 AND generation = $2"
_ADD = """
    INSERT INTO refold.dead_letters
        (projection, generation, key, position, type, stream_id, error, trace, run_id)
    VALUES ($1, $2, $3::text::jsonb, $4, $5, $6, $7, $8, $9)
"""


async def add(
    driver: asyncpg.Connection[Any],
    projection: str,
    generation: int,
    letters: Sequence[Letter],
    *,
    most: int,
    run_id: str | None,
    replaced: int = 0,
) -> None:
    """Adds letters, at the end of the transaction that writes the rows of their keys.

    Args:
        driver: In a transaction that holds what it needs.
        projection: The projection.
        generation: The copy of the table in which the keys are held.
        letters: At most one a key.
        most: Up to so many may there be in the generation (inclusive).
        run_id: The run that sets them aside; None for the live projection.
        replaced: How many letters this transaction has removed: so many may be added in any case.

    Raises:
        PoisonEvent: One is too many; it is the first that is.
    """
    if not letters:
        return
    await driver.execute(_LOCK, f"refold.dead_letters/{projection}/{generation}")
    already = await driver.fetchval(_COUNT, projection, generation)
    room = max(most - already, replaced)
    if len(letters) > room:
        raise letters[room].refused(projection, already + room, most)
    rows = [
        (
            *(projection, generation),
            None if letter.key is None else orjson.dumps(letter.key).decode(),
            *(letter.position, letter.type, letter.stream_id, letter.error, letter.trace, run_id),
        )
        for letter in letters
    ]
    await driver.executemany(_ADD, rows)


def copied(projection: str, source: int, target: int) -> Insert:
    """The statement that gives one generation the letters of another, whose rows it takes."""
    columns = [c for c in dead_letters.c if c.name not in ("id", "generation")]
    taken = select(*columns, literal(target, Integer)).where(_of(projection, source))
    names = [*(c.name for c in columns), "generation"]
    return insert(dead_letters).from_select(names, taken.order_by(dead_letters.c.id))


# -- who is held -----------------------------------------------------------------------------

_ANY_HELD = """
    SELECT EXISTS (
        SELECT FROM refold.dead_letters
        WHERE projection = $1 AND generation = $2 AND key IS NOT NULL
    )
"""
_HELD = """
    SELECT key::text FROM refold.dead_letters
    WHERE projection = $1 AND generation = $2
      AND key IN (SELECT jsonb_array_elements($3::text::jsonb))
"""


async def held_among(
    connection: AsyncConnection, projection: str, generation: int, keys: Sequence[Key]
) -> set[Key]:
    """Those of these keys that are held in a generation.

    Args:
        connection: In a transaction that has locked the generation's checkpoint: until it ends
            nobody else holds or releases a key.
        projection: The projection.
        generation: The generation.
        keys: Any keys.
    """
    if not keys:
        return set()
    driver = await raw(connection)
    # As a rule there is none, and to say so costs less than to tell PostgreSQL all keys.
    if not await driver.fetchval(_ANY_HELD, projection, generation):
        return set()
    stored = {orjson.dumps(letter_key(key)): key for key in keys}
    array = f"[{b','.join(stored).decode()}]"
    found = await driver.fetch(_HELD, projection, generation, array)
    return {stored[orjson.dumps(orjson.loads(record[0]))] for record in found}


async def held_keys(connection: AsyncConnection, projection: str, generation: int) -> HeldKeys:
    """All keys that are held in a generation."""
    statement = select(dead_letters.c.key).where(
        _of(projection, generation), dead_letters.c.key.is_not(None)
    )
    return HeldKeys((await connection.execute(statement)).scalars())


async def listed(
    connection: AsyncConnection,
    projection: str,
    generation: int,
    among: ColumnElement[bool] | None = None,
) -> list[DeadLetter]:
    """A generation's letters, the oldest first; with `among`, only those of them."""
    statement = select(*_COLUMNS).where(_of(projection, generation)).order_by(dead_letters.c.id)
    if among is not None:
        statement = statement.where(among)
    return [DeadLetter(**row._mapping) for row in await connection.execute(statement)]


async def count(
    connection: AsyncConnection,
    projection: str,
    generation: int,
    among: ColumnElement[bool] | None = None,
) -> int:
    """How many letters a generation has; with `among`, how many of them."""
    counted = select(func.count()).select_from(dead_letters).where(_of(projection, generation))
    if among is not None:
        counted = counted.where(among)
    return await connection.scalar(counted) or 0


async def positions(connection: AsyncConnection, projection: str, generation: int) -> list[int]:
    """The positions of a generation's letters, ascending, each once."""
    column = dead_letters.c.position
    statement = select(column).where(_of(projection, generation)).distinct().order_by(column)
    return list((await connection.execute(statement)).scalars())


async def keyless(connection: AsyncConnection, projection: str, generation: int) -> list[int]:
    """The positions of the letters that hold no key."""
    statement = select(dead_letters.c.position).where(
        _of(projection, generation), dead_letters.c.key.is_(None)
    )
    return list((await connection.execute(statement)).scalars())


# -- releasing -------------------------------------------------------------------------------


async def release(
    connection: AsyncConnection,
    projection: Projection,
    generation: int,
    low: Key | None,
    high: Key | None,
    *,
    selected_by: str | None = None,
    collation: str | None = None,
    side: SideTable | None = None,
) -> int:
    """Removes the letters of the keys with low < key <= high (None: no bound): they are refolded.

    Args:
        connection: In the transaction that puts their rows in place.
        projection: The projection.
        generation: The generation.
        low: Only keys above this (exclusive).
        high: Only keys up to this (inclusive).
        selected_by: Only those that this run repairs, in ``refold.selected_keys``; None for all.
        collation: By which text is ordered; None for its own.
        side: Where the keys of a function are; None if it has none.

    Returns:
        How many letters were removed.
    """
    own = _of(projection.name, generation) & dead_letters.c.key.is_not(None)
    condition: list[ColumnElement[bool]] = [own]
    paths = projection.key_paths if side is None else side.parts
    column, literals = _comparable(paths, own, collation)
    if low is not None:
        condition.append(column > literals(low))
    if high is not None:
        condition.append(column <= literals(high))
    if selected_by is not None:
        mine = select(selected_keys.c.key).where(selected_keys.c.run_id == selected_by)
        condition.append(dead_letters.c.key.in_(mine))
    return (await connection.execute(delete(dead_letters).where(*condition))).rowcount


async def release_keys(
    connection: AsyncConnection, projection: str, generation: int, keys: Sequence[Key]
) -> int:
    """Removes the letters of these keys; returns how many there were."""
    array = literal([letter_key(key) for key in keys], JSONB)
    among = dead_letters.c.key.in_(select(func.jsonb_array_elements(array)))
    statement = delete(dead_letters).where(_of(projection, generation), among)
    return (await connection.execute(statement)).rowcount


_STORED_AS: list[tuple[Any, Any]] = [
    (Uuid, Uuid),
    (BigInteger, Integer),
    (Date, Date),
    (Boolean, Boolean),
]
"""How key columns that are no text are compared, and which these are."""


def _comparable(
    paths: Sequence[KeyPart] | None, own: ColumnElement[bool], ordered_by: str | None
) -> tuple[Any, Any]:
    """A letter's key as it is ordered in the read model, and what makes a key such a value."""
    assert paths is not None
    columns: list[Any] = []
    for index, path in enumerate(paths):
        text, kind = dead_letters.c.key[index].astext, path.column.type
        collation = ordered_by or getattr(kind, "collation", None)
        stored_as = next((sql for sql, of in _STORED_AS if isinstance(kind, of)), None)
        if stored_as is not None:
            # Only this generation's letters: the keys of others may be no such values.
            columns.append(case((own, cast(text, stored_as))))
        else:
            columns.append(text if collation is None else text.collate(collation))

    def literals(key: Key) -> Any:
        parts = key if len(paths) > 1 else (key,)
        values = [literal(part, path.column.type) for path, part in zip(paths, parts, strict=True)]
        return values[0] if len(values) == 1 else tuple_(*values)

    return (columns[0] if len(columns) == 1 else tuple_(*columns)), literals


async def remove(
    connection: AsyncConnection, projection: str, generation: int, of: Sequence[int]
) -> int:
    """Removes the letters without a key of these positions; returns how many."""
    if not of:
        return 0
    statement = delete(dead_letters).where(
        _of(projection, generation),
        dead_letters.c.key.is_(None),
        dead_letters.c.position == any_(literal(list(of), ARRAY(BigInteger))),
    )
    return (await connection.execute(statement)).rowcount


# -- skipping --------------------------------------------------------------------------------


async def skipped(connection: AsyncConnection, projection: str, *, after: int = 0) -> list[int]:
    """The positions that every fold of a projection passes over, above `after`, ascending."""
    column = skipped_events.c.position
    statement = select(column).where(skipped_events.c.projection == projection, column > after)
    return list((await connection.execute(statement.order_by(column))).scalars())


async def skip(
    connection: AsyncConnection,
    projection: str,
    positions: Sequence[int],
    *,
    requested_by: str | None = None,
) -> None:
    """Lets every fold of a projection pass over these events from now on; safe to repeat.

    The keys that they hold are released when they are refolded; letters without a key are done.

    Raises:
        InvalidRequest: A position is that of no dead letter of the active generation.
    """
    active = await generations.active(connection, projection)
    known: set[int] = set()
    if active is not None:
        there = select(dead_letters.c.position).where(_of(projection, active.generation))
        known = set((await connection.execute(there)).scalars())
    unknown = sorted(set(positions) - known - set(await skipped(connection, projection)))
    if unknown:
        of_all = sorted(known)
        listed = ", ".join(str(position) for position in of_all[:20]) or "none"
        more = f" and {len(of_all) - 20:,} more" if len(of_all) > 20 else ""
        raise InvalidRequest(
            f"skip_events: expected positions of dead letters of {projection!r} ({listed}{more}), "
            f"got {unknown[0]}: `refold dead-letters list {projection}`"
        )
    rows = [
        {"projection": projection, "position": position, "requested_by": requested_by}
        for position in sorted(set(positions))
    ]
    if rows:
        await connection.execute(upsert(skipped_events).on_conflict_do_nothing(), rows)
    if active is not None:
        await remove(connection, projection, active.generation, list(positions))
