"""Events that appear in gaps that were passed: found, and the rows of their keys put right.

Only where a source settles by patience (`refold.source.settled.patience`). Late events are
numbered as they are found, and each generation knows up to which number its rows are right. So it
does not matter who finds one, nor when: whoever follows a generation puts it right, once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding.follower import Follower
from refold.engine.folding.uncertain import refold_keys
from refold.engine.sql.select_fold import in_sql
from refold.errors import PoisonEvent
from refold.projection.declaration import Projection
from refold.projection.key import Key
from refold.source.port.current import event_source
from refold.source.reader import read_at
from refold.source.settled.gaps import in_gaps, look_again
from refold.source.settled.patience import patience_of
from refold.source.sql.spans import Span
from refold.store import system_events
from refold.store.checkpoints import away
from refold.store.gaps import late_events
from refold.store.generations import Generation
from refold.system_events.events import ProjectionLateEventsApplied

# Gaps are looked at this often, and no more than so much of the time is spent with it.
_LOOK_SECONDS = 1.0
_SHARE = 0.05

# One transaction puts the keys of so many events right.
_AT_A_TIME = 500


@dataclass
class PutRight:
    """What was done about late events.

    Attributes:
        events: How many there were.
        keys: How many keys were folded anew.
        first: The lowest of their positions; None without any.
    """

    events: int = 0
    keys: int = 0
    first: int | None = None

    def add(self, other: PutRight) -> None:
        """Counts others in."""
        self.events += other.events
        self.keys += other.keys
        firsts = [first for first in (self.first, other.first) if first is not None]
        self.first = min(firsts, default=None)


class LateEvents:
    """Looks at passed gaps now and then, and puts a generation right; for one who follows it.

    Attributes:
        done: What was done so far.
    """

    def __init__(self) -> None:
        self.done = PutRight()
        self._next = 0.0

    async def see_to(self, connection: AsyncConnection, follower: Follower) -> None:
        """Looks at the gaps if it is time to, and puts right what is late.

        Args:
            connection: Not in a transaction.
            follower: Whose generation is put right.

        Raises:
            Fenced: Somebody else has taken the generation over.
            PoisonEvent: A handler cannot take an event.
        """
        clock = asyncio.get_running_loop().time
        source = event_source()
        patience = patience_of(source)
        if patience is None or clock() < self._next:
            return
        began = clock()
        await look_again(connection, source, patience)
        await connection.rollback()
        self._next = clock() + max(_LOOK_SECONDS, (clock() - began) / _SHARE)
        while True:
            async with connection.begin():
                some = await put_right(connection, follower)
            if some is None:
                return
            self.done.add(some)


async def put_right(connection: AsyncConnection, follower: Follower) -> PutRight | None:
    """Folds the keys of the next late events anew, if they are below the checkpoint.

    Args:
        connection: In a transaction.
        follower: Whose generation is put right.

    Returns:
        What was done; None when there are no more late events.

    Raises:
        Fenced: Somebody else has taken the generation over.
        PoisonEvent: A handler cannot take an event.
    """
    source = event_source()
    if patience_of(source) is None:
        return None
    projection, number = follower.projection, follower.generation.generation
    known = await late_events.late_to(connection, projection.name, number)
    late = await late_events.pending(connection, source.name, known, limit=_AT_A_TIME)
    if not late:
        return None
    # Only under this lock are the rows safe to read: an in-place refold may be at them.
    await away.require_held(connection, follower.generation, follower.fence)
    # What is above will be followed in its turn.
    passed = [position for _, position in late if position <= follower.position]
    keys = 0
    if passed:
        keys = await refold_keys(
            connection,
            projection,
            replace(follower.generation, position=follower.position),
            at_positions=passed,
        )
    await late_events.set_late_to(connection, projection.name, number, late[-1][0])
    return PutRight(len(passed), keys, min(passed, default=None))


async def record(connection: AsyncConnection, generation: Generation, done: PutRight) -> None:
    """Records what was done as a system event, in a transaction of its own, if anything was."""
    if not done.events:
        return
    applied = ProjectionLateEventsApplied(
        projection=generation.projection,
        generation=generation.generation,
        events=done.events,
        keys=done.keys,
        first_position=done.first or 0,
    )
    async with connection.begin():
        await system_events.record(connection, applied)


async def uncertain_keys(
    connection: AsyncConnection, projection: Projection, there: Generation
) -> set[Key]:
    """The keys of a generation that late events name, and that are not known to be right.

    Args:
        connection: In the transaction that reads the generation's rows.
        projection: In the version that built it.
        there: The generation.
    """
    source = event_source()
    patience = patience_of(source)
    if patience is None:
        return set()
    known = await late_events.late_to(connection, projection.name, there.generation)
    pending = await late_events.pending(connection, source.name, known)
    positions = {position for _, position in pending}
    appeared = await connection.execute(in_gaps(source, patience))
    positions.update(row.n for row in appeared)
    keys: set[Key] = set()
    if not positions:
        return keys
    select = in_sql(projection)
    if select is not None:
        return {*await select.keys(connection, Span(max(positions), only=sorted(positions)))}
    for event in await read_at(connection, sorted(positions)):
        if event.type not in projection.handlers:
            continue
        try:
            keys.update(projection.rows.keys_of(event))
        except PoisonEvent:
            continue  # it names no key
    return keys
