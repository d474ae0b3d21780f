"""What a projection's `create` makes of rows, as JSON texts, and `restore` of these."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import HandlerInterrupted, SnapshotRejected
from refold.errors.words import raised
from refold.event import Event
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.runtime.database import raw
from refold.runtime.threads import Hand, in_thread
from refold.store.generations import Generation
from refold.store.snapshots import json_rows
from refold.store.tables.rows import RowStore


async def created(
    projection: Projection, rows: Mapping[Key, Row | None], event: Event | None
) -> dict[Key, str | None]:
    """What `create` makes of these rows, as JSON texts; None for no row.

    Args:
        projection: One that has a `create`.
        rows: By key; they stay as they are.
        event: What is in hand, for the limit of time; None for no limit.

    Raises:
        SnapshotRejected: It raises, or returns what JSON cannot hold.
    """
    hand = Hand(projection.name)
    return await in_thread(_created, projection, rows, hand, event, hand=hand)


def _created(
    projection: Projection, rows: Mapping[Key, Row | None], hand: Hand, event: Event | None
) -> dict[Key, str | None]:
    create = projection.snapshots.create
    assert create is not None
    made: dict[Key, str | None] = {}
    for key, row in rows.items():
        if row is None:
            made[key] = None
            continue
        if event is not None:
            hand.begin(event)
        try:
            after = create(projection.rows.copied(row))
            if not isinstance(after, dict):
                raise TypeError(f"expected a dict, got {type(after).__name__}")
            made[key] = json.dumps(after, default=_plain, allow_nan=False, separators=(",", ":"))
        except HandlerInterrupted:
            raise
        except BaseException as error:
            raise SnapshotRejected(
                f"projection {projection.name!r}: expected create() of its snapshots to make of "
                f"each row a dict that JSON can hold, got {raised(error)}: mend it"
            ) from None
    return made


async def created_of_all(
    connection: AsyncConnection,
    projection: Projection,
    generation: Generation,
    rows: RowStore,
    event: Event | None,
) -> None:
    """Keeps what `create` makes of all rows of a generation; from now on it must be kept up.

    Raises:
        SnapshotRejected: It makes nothing that JSON can hold.
    """
    driver = await raw(connection)
    async for some in json_rows.all_rows(connection, rows):
        made = await created(projection, dict(some), event)
        await json_rows.put(driver, generation.projection, generation.generation, rows, made)


def restored(
    projection: Projection, rows: RowStore, made: Sequence[tuple[Sequence[Any], str]]
) -> Iterator[Row]:
    """The rows that this version's `restore` makes; in a thread.

    Args:
        projection: One that has a `restore`.
        rows: Its table.
        made: Frozen keys, and what another version's `create` has made of their rows.

    Raises:
        SnapshotRejected: It raises, or returns what is no row of this version.
    """
    restore = projection.snapshots.restore
    assert restore is not None
    for frozen, text in made:
        try:
            key = rows.thawed_key(frozen)
            fields = projection.rows.key_fields(key)
            row = projection.rows.settled(None, restore(json.loads(text)), fields)
        except HandlerInterrupted:
            raise
        except BaseException as error:
            raise SnapshotRejected(
                f"projection {projection.name!r}, version {projection.version}: expected "
                f"restore() to make a row of what another version's create() made, got "
                f"{raised(error)}: mend it, or start a Rebuild"
            ) from None
        if row is not None:
            yield row


def _plain(value: Any) -> Any:
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"a value that JSON cannot hold: {type(value).__name__}")
