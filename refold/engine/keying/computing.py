"""Making keys of events in Python, and writing them down beside the positions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import HandlerInterrupted, PoisonEvent, UnreadableEvent
from refold.event import Event
from refold.messages.run.plan import Plan
from refold.projection.declaration import Projection
from refold.projection.narrowed.sent_event import WHOLE, Sent
from refold.requests.poison_policy import Poison
from refold.runtime.database import raw
from refold.runtime.threads import Hand, in_thread
from refold.source.decoding import decoded
from refold.source.portions import portions_of
from refold.source.reader import in_position_order
from refold.store import dead_letters
from refold.store.schema import SCHEMA
from refold.store.side_keys import slices
from refold.store.side_keys.tables import SideTable
from refold.store.tables.stored_types import driver_binder, stored

Records = list[tuple[Any, ...]]
"""Positions, each with the parts of a key."""


_SIMPLE = frozenset({str, int})


class Computing:
    """Makes keys of events.

    Args:
        projection: Whose function makes them.
        poison: What is done with events that the function cannot take.
        known: The positions of events that were set aside before for that, or are skipped; if they
            cannot be taken, they are passed over.

    Attributes:
        hand: The event in hand.
        sent: What is sent of each event.
    """

    def __init__(
        self,
        projection: Projection,
        poison: Poison,
        known: Collection[int],
        sent: Sent = WHOLE,
    ) -> None:
        self.hand = Hand(projection.name)
        self.sent = sent
        self._rows = projection.rows
        self._sets_aside = poison.sets_aside
        self._known = frozenset(known)
        columns = [str(column.name) for column in projection.table.primary_key.columns]
        self._none = (None,) * len(columns)
        kinds = stored(projection.table)[1]
        binders = [driver_binder(kinds[name]) for name in columns]
        self._binders = binders if any(binders) else None
        self._quick = None if self._binders else self._rows.quick_key

    def keyed(self, texts: Sequence[str], records: Records) -> int:
        """Adds the keys of a chunk of events to `records`, as far as there is time.

        Returns:
            How many of the events are done.

        Raises:
            PoisonEvent: The function cannot take an event, and it is not set aside.
            ReadsMore: The function has asked for more of an event than is sent.
        """
        done = 0
        hand, add = self.hand, records.append
        for event in self._events(texts):
            hand.event = event
            # Most keys are a text or a number of one column.
            if self._quick is not None:
                made, settle = self._quick
                try:
                    key = made(event)
                    if type(key) in _SIMPLE:
                        add((event.position, settle(key)))
                        done += 1
                        if hand.due:
                            break
                        continue
                except HandlerInterrupted:
                    raise
                except BaseException:  # `exit()` in it is no end of ours
                    pass  # it is called once more, to say what is wrong
            self._add(event, records)
            done += 1
            if hand.due:
                break
        hand.event = None
        self.sent.require_enough()
        return done

    def _events(self, texts: Sequence[str]) -> Iterator[Event]:
        made, (_, timed_at, _, _) = self.sent.event, self.sent.places
        new, instant = tuple.__new__, datetime.fromisoformat
        for record in decoded(texts):
            if timed_at:
                try:
                    record[timed_at] = instant(record[timed_at])
                except ValueError:
                    raise UnreadableEvent.timed(record[0], record[timed_at]) from None
            yield new(made, record)

    def _add(self, event: Event, records: Records) -> None:
        try:
            keys = self._rows.keys_of(event)
        except PoisonEvent:
            self.sent.require_enough()
            if event.position in self._known:
                return
            if not self._sets_aside:
                raise
            records.append((event.position, *self._none))
            return
        for key in keys:
            parts = key if len(self._none) > 1 else (key,)
            if self._binders is not None:
                parts = tuple(map(_bound, self._binders, parts))
            records.append((event.position, *parts))


def _bound(binder: Any, part: Any) -> Any:
    return part if binder is None else binder(part)


async def write_down(driver: asyncpg.Connection[Any], side: SideTable, records: Records) -> None:
    """Adds records to the side table by COPY, in the caller's transaction."""
    if records:
        names = [column.name for column in side.keys.c]
        await driver.copy_records_to_table(
            side.keys.name, schema_name=SCHEMA, columns=names, records=records
        )


async def computing(
    connection: AsyncConnection, plan: Plan, projection: Projection, sent: Sent = WHOLE
) -> Computing:
    """What makes the keys of a run; it knows what has been set aside before."""
    # An event that is skipped names its key all the same, if it has one.
    known = await dead_letters.skipped(connection, projection.name)
    if plan.letters_of is not None:
        known += await dead_letters.keyless(connection, projection.name, plan.letters_of)
    return Computing(projection, plan.poison, known, sent)


async def reach(
    connection: AsyncConnection, side: SideTable, plan: Plan, projection: Projection, upto: int
) -> bool:
    """Sees to it that the keys of all events up to a position are written down.

    The live table goes on while a run repairs it. What it has applied since the run was planned is
    added here, by whoever needs it first.

    Args:
        connection: Not in a transaction.
        side: The side table.
        plan: The run's plan.
        projection: In the version that folds.
        upto: A settled position.

    Returns:
        False when the first pass has to begin again: a crash of PostgreSQL has emptied the table.
    """
    async with connection.begin():
        if not await slices.are_done(connection, side, plan.key_slices):
            return False
        if upto <= plan.keys_upto:
            return True
        number = plan.key_slices
        position = await slices.hold(connection, side, number, plan.keys_upto)
        if upto <= position:
            return True
        made = await computing(connection, plan, projection)
        statement = in_position_order(
            types=projection.event_types,
            after=position,
            upto=upto,
            since=projection.start_from,
        )
        driver = await raw(connection)
        async for portion in portions_of(connection, statement):
            texts = portion
            while texts:
                records: Records = []
                done = await in_thread(made.keyed, texts, records, hand=made.hand)
                made.hand.renew()
                await write_down(driver, side, records)
                texts = texts[done:]
        await slices.move(connection, side, number, upto)
    return True
