"""The events of some keys that a function makes, also of those that are not written down yet."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.event import Event
from refold.projection.declaration import Projection
from refold.projection.key import Key
from refold.runtime.threads import Hand, in_thread
from refold.source.keyed import side_keys
from refold.source.port.current import event_source
from refold.source.portions import portions_of
from refold.source.reader import as_events, in_position_order, read_at
from refold.store.side_keys.tables import SideTable


async def events_of_keys(
    connection: AsyncConnection,
    projection: Projection,
    keys: Sequence[Key],
    *,
    side: SideTable | None,
    written: int,
    upto: int,
    passed_over: Sequence[int],
) -> list[Event]:
    """The events of these keys up to a position, each once, in order of position.

    Args:
        connection: In a transaction.
        projection: One whose key is a function.
        keys: The keys.
        side: Where keys are written down; None for nowhere: then all events are read.
        written: Up to which position (inclusive) they are.
        upto: The last position (inclusive).
        passed_over: The positions of events that are left out.

    Raises:
        PoisonEvent: The function cannot take an event that is not written down.
    """
    found: list[Event] = []
    after = event_source().before
    if side is not None:
        after = min(written, upto)
        at = await side_keys.positions(connection, side, keys, upto=after, passed_over=passed_over)
        found = await read_at(connection, sorted({one for of_key in at.values() for one in of_key}))
    if upto <= after:
        return found
    statement = in_position_order(
        types=projection.event_types,
        after=after,
        upto=upto,
        since=projection.start_from,
        passed_over=passed_over,
    )
    wanted, hand = frozenset(keys), Hand(projection.name)
    async for texts in portions_of(connection, statement):
        found += await in_thread(_of_keys, projection, texts, wanted, hand, hand=hand)
        hand.renew()
    return found


def _of_keys(
    projection: Projection, texts: Sequence[str], wanted: Collection[Key], hand: Hand
) -> list[Event]:
    rows = projection.rows
    return [
        event
        for event in hand.each(as_events(texts))
        if any(key in wanted for key in rows.keys_of(event))
    ]
