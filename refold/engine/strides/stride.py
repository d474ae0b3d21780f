"""A stride: as many events as two seconds have room for, applied in one transaction.

A batch writes the rows that it changes, and waits for the disk. Who is far behind does that once
for many batches: each row is read once and written once, whatever happens to it in between. The
events are read ahead meanwhile (`refold.engine.strides.ahead`) and are not kept, so that what is in
memory is the rows.

Only what goes smoothly is a stride. It ends before an event that cannot be folded, and comes to
nothing when PostgreSQL refuses a row: batches go on from there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding.row_bounds import ROWS_BYTES
from refold.engine.sql.select_fold import in_sql
from refold.engine.strides.ahead import Ahead, Asked, Portion
from refold.engine.strides.folding import StrideFold
from refold.projection.narrowed.sent_event import ReadsMore
from refold.runtime.threads import PIECE_SECONDS, Hand, in_thread
from refold.source.port.sent import sent_to_follow, warn_of
from refold.store import dead_letters, generations
from refold.store.generations import BUILDING
from refold.store.tables.many.together import Standing, Together, standing_of
from refold.store.tables.refused_row import is_same_row, refused_row

if TYPE_CHECKING:
    from refold.engine.folding.follower import Follower

FAR_BEHIND = 10_000
"""From so many positions on it is worth it."""

# Rows in memory, and in one transaction.
_MOST_KEYS = 50_000


class Strides:
    """Takes strides for one follower.

    Args:
        follower: Whose rows and checkpoint are moved.
        ahead: What reads the events.

    Attributes:
        resume_at: Up to this position batches go on by themselves.
    """

    def __init__(self, follower: Follower, ahead: Ahead) -> None:
        self._follower = follower
        self._ahead = ahead
        self._sent = sent_to_follow(follower.projection)
        types = follower.projection.event_types
        self._asked = Asked(
            None if types is None else tuple(types),
            follower.projection.start_from,
            tuple(follower.skipped),
        )
        # As for a batch: a crash costs little, and who waits for the checkpoint does not wait long.
        every = follower.projection.checkpoints.every_seconds
        self._seconds = min(PIECE_SECONDS, every or PIECE_SECONDS)
        self.resume_at = follower.position
        self._standing = Standing(has_large=True, takes_copy=False)

    async def take(self, connection: AsyncConnection, upto: int) -> int | None:
        """Takes a stride in a transaction of its own.

        Args:
            connection: Not in a transaction.
            upto: A settled position (inclusive).

        Returns:
            How many events were applied; None when nothing has changed, and batches are to go on.

        Raises:
            Fenced: Somebody else has moved the checkpoint.
        """
        follower, ahead = self._follower, self._ahead
        if follower.position < self.resume_at or upto - follower.position < FAR_BEHIND:
            await ahead.end()  # nothing is read ahead while batches go on
            return None
        begun = await ahead.begin(self._asked, self._sent, after=follower.position, upto=upto)
        first = await ahead.take() if begun else None
        if first is None:
            return None
        hand = Hand(follower.projection.name, self._seconds)
        fold = StrideFold(follower.projection, self._sent, hand, follower.position)
        try:
            async with connection.begin():
                if not await self._folded(connection, fold, first):
                    await self._leave(fold)
                    return None
                before, current = fold.before, fold.current
                together = Together.of((key, before[key], row) for key, row in current.items())
                takes_copy = self._standing.takes_copy
                await together.write(connection, follower.rows, takes_copy=takes_copy)
        except ReadsMore as more:
            warn_of(follower.projection, more)
            self._sent = sent_to_follow(follower.projection)
            await self._leave(fold, follower.position)
            return None
        except (DBAPIError, asyncpg.PostgresError) as error:
            if refused_row(error) is None and not is_same_row(error):
                raise
            await self._leave(fold, fold.position)
            return None
        follower.position = fold.position
        if fold.ends_at is not None:
            await self._leave(fold)
        return fold.events

    async def _leave(self, fold: StrideFold, upto: int | None = None) -> None:
        """Leaves what follows to batches, up to a position, or to the event that was met."""
        self.resume_at = fold.ends_at or fold.position + 1 if upto is None else upto
        await self._ahead.end()

    async def _folded(self, connection: AsyncConnection, fold: StrideFold, first: Portion) -> bool:
        """Folds portions until it is enough; False when nothing of the first one is folded."""
        follower, clock = self._follower, asyncio.get_running_loop().time
        end, old = clock() + self._seconds, fold.position
        if follower.generation.status == BUILDING:
            await connection.execute(text("SET LOCAL synchronous_commit = off"))
        # Only under this lock are the rows safe to read: an in-place refold may be at them.
        await self._advance(connection, old, old)
        name, number = follower.projection.name, follower.generation.generation
        letters = await dead_letters.count(connection, name, number)
        self._standing = await standing_of(connection, follower.rows)
        portion: Portion | None = first
        read = taken = 0
        while portion is not None:
            hand = fold.hand
            hand.renew()
            keyed = await in_thread(fold.keyed, portion.texts, hand=hand)
            keys = fold.new(keyed)
            if letters and keys:
                fold.held |= await dead_letters.held_among(connection, name, number, keys)
                keys = [key for key in keys if key not in fold.held]
            if self._standing.has_large and keys:
                read += sum((await follower.rows.sizes(connection, keys)).values())
                if read > ROWS_BYTES:
                    self._ahead.put_back(portion)
                    break
            if keys:
                fold.know(keys, await follower.rows.read(connection, keys))
            hand.renew()
            await in_thread(fold.fold, keyed, portion.upto, hand=hand)
            taken += portion.size  # rows may have kept as much of the events
            full = max(fold.size, taken) > ROWS_BYTES or len(fold.current) > _MOST_KEYS
            if fold.position < portion.upto or full or clock() >= end:
                break
            await asyncio.sleep(0)  # others have their turn, whoever reads ahead among them
            # A lock is held: what does not come soon is for the next one.
            portion = await self._ahead.take(seconds=end - clock())
        if fold.position == old:
            return False
        await self._advance(connection, old, fold.position)
        return True

    async def _advance(self, connection: AsyncConnection, old: int, new: int) -> None:
        generation, fence = self._follower.generation, self._follower.fence
        name, number = generation.projection, generation.generation
        await generations.advance(connection, name, number, old=old, new=new, fence=fence)


def strides_of(follower: Follower, ahead: Ahead) -> Strides | None:
    """What takes strides for a follower; None where each batch has an end of its own.

    That is where somebody says how many events a transaction has, where a snapshot may be due after
    any event, where rows are kept as they were, and where a select, or a function of many events of
    a key at once, makes them.
    """
    projection = follower.projection
    said = "batch_size" in projection.backfill.model_fields_set
    if said or projection.checkpoints.every_n_events is not None or in_sql(projection) is not None:
        return None
    if projection.key_fold is not None:
        return None
    if follower.run_id is not None or not follower.moments.idle:
        return None
    return Strides(follower, ahead)
